// Browser tabs that help a node, with sockets that are two functions: who may join, who is banned, and what becomes of their tasks.

import { beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { MergeTask } from "../../src/kernel/program.ts";
import { type Clock, realClock } from "../../src/remote/clock.ts";
import { decodeFrame, encodeFrame } from "../../src/remote/frame.ts";
import { createInlineKernels, type NodeKernels, type TaskResult } from "../../src/remote/kernels.ts";
import { nodeLimits } from "../../src/remote/limits.ts";
import { joinProof, type NodeText, type TabTask } from "../../src/remote/tab-wire.ts";
import { createTabs, maxTabs, type TabReport, type Tabs, tabLeaseMs } from "../../src/remote/tabs.ts";
import { headers, routes } from "../../src/remote/wire.ts";
import { withTempFolder } from "../support/host.ts";
import { clock, kernels, messageFor, module, refusalOf as refusalOfResponse, send, testApp } from "./fixture.ts";
import { appFetch, mergeAlone, mergeWithNodes, now, seeded } from "./nodes.ts";

const secret = "5e".repeat(32);
const auditing = createInlineKernels({ module, workerBytes: 16 << 20, now });

function testTabs(options: { own?: NodeKernels; clock?: Clock; random?: () => number } = {}) {
  const reports: TabReport[] = [];
  const tabs = createTabs({
    own: options.own ?? kernels,
    auditing,
    secret,
    limits: nodeLimits,
    clock: options.clock ?? clock,
    random: options.random ?? seeded(7),
    report: (r) => reports.push(r),
  });
  return { tabs, reports };
}

interface TabTerms {
  readonly secret?: string;
  readonly id?: string;
  readonly kernel?: string;
  /** What it answers instead of the truth; null: nothing. */
  readonly lie?: (truth: TaskResult, n: number) => TaskResult | null;
}

interface FakeTab {
  readonly said: NodeText[];
  readonly tasks: () => number;
  readonly closed: () => boolean;
  /** The browser closes it. */
  close(): void;
  say(data: string | Uint8Array<ArrayBuffer>): void;
}

const own = createInlineKernels({ module, workerBytes: 16 << 20, now });
const never = new AbortController().signal;

/** As the page's thread does it. */
function openTab(tabs: Tabs, terms: TabTerms = {}): FakeTab {
  const said: NodeText[] = [];
  const id = terms.id ?? "1d".repeat(16);
  let [n, closed] = [0, false];
  const answer = async ({ lease, task, ranges, bytes }: TabTask) => {
    const truth = await own.run(task, { ranges, bytes }, never);
    const told = terms.lie ? terms.lie(truth, n) : truth;
    n++;
    const slice = { kind: task.kind, first: task.first, count: task.count };
    if (told && !closed) events.message(encodeFrame({ lease, slice, ...told, fault: null }).bytes);
  };
  const events = tabs.open({
    send(data) {
      // Sockets deliver later.
      queueMicrotask(() => {
        if (typeof data !== "string") void answer(decodeFrame(data, nodeLimits.descriptorBytes) as TabTask);
        else {
          const text = JSON.parse(data) as NodeText;
          said.push(text);
          if (text.type !== "challenge") return;
          const proof = joinProof(terms.secret ?? secret, text.nonce, id);
          events.message(JSON.stringify({ type: "join", id, kernel: terms.kernel ?? text.kernel, proof }));
        }
      });
    },
    close() {
      closed = true;
      events.closed();
    },
  });
  const say = (data: string | Uint8Array<ArrayBuffer>) => events.message(data);
  return { said, tasks: () => n, closed: () => closed, say, close: () => events.closed() };
}

const until = async (holds: () => boolean) => {
  for (let i = 0; !holds(); i++) {
    if (i > 5000) throw new Error("it did not come to pass");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
};
const joined = (tab: FakeTab) => until(() => tab.said.some((t) => t.type === "welcome"));
const refusalOf = async (tab: FakeTab) => {
  await until(() => tab.closed());
  await until(() => tab.said.some((t) => t.type === "refused"));
  return tab.said.flatMap((t) => (t.type === "refused" ? [t.message] : [])).join();
};

describe("a tab joins", () => {
  test("after it proved that it knows the secret and merges as the node does", async () => {
    const { tabs, reports } = testTabs();
    const tab = openTab(tabs);
    await joined(tab);
    expect(tab.said.map((t) => t.type)).toEqual(["challenge", "welcome"]);
    expect([tab.tasks(), tabs.cores, reports.map((r) => r.state)]).toEqual([1, kernels.cores + 1, ["joined"]]);
    tab.close();
    expect([tabs.cores, reports.at(-1)!.state]).toEqual([kernels.cores, "left"]);
  });

  test.each([
    ["with another secret", { secret: "5f".repeat(32) }, "open the address that braid serve printed"],
    ["with other kernels", { kernel: "0".repeat(64) }, "its kernels are others"],
    ["under no name", { id: "x" }, "it did not say who it is"],
    [
      "with wrong bytes of the test merge",
      { lie: (truth: TaskResult) => ({ ...truth, output: truth.output.map((b) => b ^ 1) }) },
      "it failed the test merge",
    ],
  ] as const)("not %s", async (_, terms, why) => {
    const { tabs } = testTabs();
    const tab = openTab(tabs, terms);
    expect(await refusalOf(tab)).toContain(why);
    expect(tabs.cores).toBe(kernels.cores);
  });

  test("not when it says anything else first", async () => {
    for (const data of ["{", "x".repeat(2000), new Uint8Array(100)]) {
      const { tabs } = testTabs();
      let closed = 0;
      const events = tabs.open({ send: () => {}, close: () => void closed++ });
      events.message(data);
      expect(closed).toBe(1);
    }
  });

  test("not when it says nothing for ten seconds, and not beside 256 others", async () => {
    const { tabs } = testTabs({ clock: realClock(now, 1000) });
    let closed = 0;
    const open = () => tabs.open({ send: () => {}, close: () => void closed++ });
    for (let i = 0; i < maxTabs; i++) open();
    expect(closed).toBe(0);
    open();
    expect(closed).toBe(1);
    await until(() => closed === maxTabs + 1);
  });
});

describe("a merge by a node that tabs help", () => {
  let alone = "";
  beforeAll(async () => {
    alone = await withTempFolder((temp) => mergeAlone(join(temp, "out")));
  });
  /** Its own cores are slow, so that the tabs get something. */
  const slow: NodeKernels = {
    ...kernels,
    run: async (...all) => {
      await new Promise((resolve) => setTimeout(resolve, 30));
      return kernels.run(...all);
    },
  };
  const mergeBy = (tabs: Tabs) =>
    withTempFolder((temp) =>
      mergeWithNodes(join(temp, "out"), { nodes: 1, fetch: appFetch([testApp({ kernels: tabs })]) }),
    );

  test("gives the same bytes, and the tabs do most of it", async () => {
    const { tabs } = testTabs({ own: slow });
    const both = [openTab(tabs, { id: "a1".repeat(16) }), openTab(tabs, { id: "a2".repeat(16) })];
    for (const tab of both) await joined(tab);
    expect((await mergeBy(tabs)).sha256).toBe(alone);
    expect(tabs.done).toBeGreaterThan(10);
    expect(both.every((tab) => tab.tasks() > 5)).toBe(true);
  });

  test("does what a tab had when that is closed, or keeps silent", async () => {
    const { tabs, reports } = testTabs({ own: slow, clock: realClock(now, 100) });
    const [closing, silent] = [
      openTab(tabs, { id: "b1".repeat(16), lie: (truth, n) => (n < 4 ? truth : null) }),
      openTab(tabs, { id: "b2".repeat(16), lie: (truth, n) => (n < 4 ? truth : null) }),
    ];
    for (const tab of [closing, silent]) await joined(tab);
    const running = mergeBy(tabs);
    await until(() => closing.tasks() >= 5);
    closing.close();
    const { sha256 } = await running;
    expect(sha256).toBe(alone);
    expect(tabLeaseMs).toBeLessThan(30_000);
    expect(await refusalOf(silent)).toContain("for too long");
    expect(reports.filter((r) => r.state === "left").length).toBe(2);
  });

  const flip = (truth: TaskResult, step: number): TaskResult => {
    const output = truth.output.slice();
    for (let i = 0; i < output.length; i += step) output[i]! ^= 1;
    return { ...truth, output };
  };
  test.each([
    ["from the first task on, one bit a slice", 1, 2 ** 30],
    ["from the seventh task on, in every block", 7, 2048],
  ] as const)("bans a tab that lies %s", async (_, from, step) => {
    const { tabs, reports } = testTabs({ own: slow });
    const tab = openTab(tabs, { lie: (truth, n) => (n < from ? truth : flip(truth, step)) });
    await joined(tab);
    const { sha256 } = await mergeBy(tabs);
    expect(sha256).toBe(alone);
    expect(reports.map((r) => r.state)).toEqual(["joined", "banned"]);
    const again = openTab(tabs);
    expect(await refusalOf(again)).toContain("it gave wrong bytes");
  });

  const lieInLastBlock = (truth: TaskResult): TaskResult => {
    const output = truth.output.slice();
    output[output.length - 2]! ^= 1;
    return { ...truth, output };
  };

  test("tells the jobs that believed a tab, and no others, when it is found out later", async () => {
    // An audit that always looks at the first block, until the fifth task is computed whole.
    const { tabs } = testTabs({ random: () => 0 });
    const tab = openTab(tabs, { lie: (truth, n) => (n < 3 ? truth : lieInLastBlock(truth)) });
    await joined(tab);
    const app = testApp({ kernels: tabs });
    const values = new Uint8Array(new Float32Array(16_384).fill(1).buffer);
    for (let i = 0; i < 4; i++) expect((await send(app, messageFor(ones, [values]))).status).toBe(200);
    const about = async (job: string) => (await app.request(routes.about, { headers: { [headers.job]: job } })).status;
    expect([await about("job"), tab.closed()]).toEqual([200, false]);
    // The fifth is computed again by the node's own kernels, and the answer is refused all the same.
    expect(await refusalOfResponse(await send(app, messageFor(ones, [values])))).toBe("409 recalled");
    expect(tab.closed()).toBe(true);
    expect([await about("job"), await about("other")]).toEqual([409, 200]);
  });

  test.each([
    ["at the next task", routes.slice],
    ["when it is asked at the end", routes.about],
  ] as const)("is right although a node recalls what it did, %s", async (_, at) => {
    let [n, asking] = [0, ""];
    const liar: NodeKernels = {
      ...kernels,
      run: async (...all) => {
        const truth = await kernels.run(...all);
        // After the test merge and the first tasks, and before the next one that is computed whole.
        const several = truth.output.length > 2 * 4096;
        return n++ > 7 && n < 14 && several ? lieInLastBlock(truth) : truth;
      },
      recalled: () => asking === at && n > 14,
    };
    const inner = appFetch([testApp({ kernels: liar })]);
    const outcome = await withTempFolder((temp) =>
      mergeWithNodes(join(temp, "out"), {
        nodes: 1,
        random: () => 0,
        fetch: (url, init) => {
          asking = new URL(url).pathname;
          return inner(url, init);
        },
      }),
    );
    expect(outcome.sha256).toBe(alone);
    expect(outcome.reports.filter((r) => r.state === "banned").map((r) => r.message)).toEqual([
      expect.stringContaining("a helper of it lied"),
    ]);
  });
});

/** A copy of 16,384 ones: four blocks. */
const ones: MergeTask = {
  kind: "merge",
  id: 1,
  first: 0,
  count: 16_384,
  inputs: [{ file: 0, start: 0 }],
  output: { file: 1, start: 0 },
  program: {
    op: "merge",
    inputs: ["F32"],
    out: "F32",
    base: null,
    terms: [{ input: 0, weight: 1, scale: 1, keep: {} }],
    combine: { op: "sum" },
    lambda: 1,
  },
  policy: { nonFinite: "error", overflow: "error" },
};

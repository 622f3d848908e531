// Nodes on the coordinator's disk: they read inputs and write their slices where they are, and are believed no more than others.

import { beforeAll, describe, expect, test } from "bun:test";
import { closeSync, openSync, readFileSync, statSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { fileOpener } from "../../src/exec/local.ts";
import type { Task } from "../../src/kernel/program.ts";
import type { Fetch } from "../../src/remote/client.ts";
import { realClock } from "../../src/remote/clock.ts";
import { type NodeKernels, sliceStart } from "../../src/remote/kernels.ts";
import { openPlaces, type TaskPlaces } from "../../src/remote/places.ts";
import { outputBytes, routes } from "../../src/remote/wire.ts";
import { withTempFolder } from "../support/host.ts";
import { testApp } from "./fixture.ts";
import { appFetch, mergeAlone, mergeWithNodes, now, placedApp, runPlaced } from "./nodes.ts";

let alone = "";
beforeAll(async () => {
  alone = await withTempFolder((temp) => mergeAlone(join(temp, "out")));
});

/** Counts the bytes that go to nodes and come back. */
function counted(fetch: Fetch) {
  const carried = { there: 0, back: 0 };
  const count: Fetch = async (url, init) => {
    const response = await fetch(url, init);
    if (!url.includes("/v1/")) return response;
    const bytes = await response.arrayBuffer();
    carried.there += (init.body as Uint8Array).length;
    carried.back += bytes.byteLength;
    return new Response(bytes, { status: response.status, headers: response.headers });
  };
  return { fetch: count, carried };
}

/** Of the demo: what is read is four times what is written. */
const outputLength = 1_526_016;

describe("a node on the same disk", () => {
  test("is sent no tensor bytes, and sends none", () =>
    withTempFolder(async (temp) => {
      const { fetch, carried } = counted(appFetch([placedApp(temp)]));
      const { sha256, reports } = await mergeWithNodes(join(temp, "out"), { nodes: 1, fetch });
      expect(sha256).toBe(alone);
      expect(reports.map((r) => r.state)).toEqual(["ready", "done"]);
      expect(reports[1]!.bytes).toBeGreaterThan(4 * outputLength);
      expect(carried.there + carried.back).toBeLessThan(outputLength / 4);
    }));

  test("sends its output where it may only read", () =>
    withTempFolder(async (temp) => {
      const { fetch, carried } = counted(appFetch([placedApp(null)]));
      const { sha256 } = await mergeWithNodes(join(temp, "out"), { nodes: 1, fetch });
      expect(sha256).toBe(alone);
      expect(carried.there).toBeLessThan(outputLength / 4);
      expect(carried.back).toBeGreaterThan(outputLength);
    }));

  test("that says it may write and may not is asked for the bytes instead", () =>
    withTempFolder(async (temp) => {
      const honest = placedApp(null);
      const boastful: Fetch = async (url, init) => {
        const response = await appFetch([honest])(url, init);
        if (!url.endsWith(routes.about)) return response;
        const about = { ...((await response.json()) as object), writeRoots: ["/"] };
        const bytes = new TextEncoder().encode(JSON.stringify(about));
        const { createHash } = await import("node:crypto");
        return new Response(bytes, { headers: { "braid-sha256": createHash("sha256").update(bytes).digest("hex") } });
      };
      const { sha256, reports } = await mergeWithNodes(join(temp, "out"), { nodes: 1, fetch: boastful });
      expect([sha256, reports.map((r) => r.state)]).toEqual([alone, ["ready", "done"]]);
    }));
});

/** Writes bytes over a slice in its file. */
function overwrite(task: Task, { output }: TaskPlaces, bytes: Uint8Array, at = 0): void {
  const fd = openSync(output!.path, "r+");
  writeSync(fd, bytes, 0, bytes.length, sliceStart(task) + at);
  closeSync(fd);
}

const lies: Record<string, NonNullable<NodeKernels["runPlaced"]>> = {
  "writes zeros": async (task, places, signal) => {
    const truth = await runPlaced(task, places, signal);
    if (places.output) overwrite(task, places, new Uint8Array(outputBytes(task)));
    return truth;
  },
  "writes nothing": async (task, places, signal) => {
    const truth = await runPlaced(task, { ...places, output: null }, signal);
    return places.output ? { ...truth, output: new Uint8Array(), written: true } : truth;
  },
  "writes one bit wrong": async (task, places, signal) => {
    const truth = await runPlaced(task, places, signal);
    if (!places.output) return truth;
    const at = outputBytes(task) - 2;
    const byte = readFileSync(places.output.path)[sliceStart(task) + at]!;
    overwrite(task, places, new Uint8Array([byte ^ 1]), at);
    return truth;
  },
};

describe("a node that", () => {
  for (const [name, lie] of Object.entries(lies)) {
    test(`${name} is caught within two slices`, () =>
      withTempFolder(async (temp) => {
        const apps = [placedApp(temp, { runPlaced: lie }), testApp()];
        const { sha256, reports } = await mergeWithNodes(join(temp, "out"), { nodes: 2, fetch: appFetch(apps) });
        expect(sha256).toBe(alone);
        const banned = reports.filter((r) => r.state === "banned");
        expect(banned.map((r) => [r.url, r.tasks < 2])).toEqual([["http://node0", true]]);
      }));
  }

  test("lies later has what it wrote put right, and whoever hashed it is told", () =>
    withTempFolder(async (temp) => {
      let n = 0;
      const late: NodeKernels["runPlaced"] = async (task, places, signal) => {
        const truth = await runPlaced(task, places, signal);
        if (!places.output || outputBytes(task) <= 8192 || ++n < 3) return truth;
        // Where nobody looks at first, and then where somebody does.
        overwrite(task, places, new Uint8Array([1, 2, 3]), n < 12 ? 0 : outputBytes(task) - 3);
        return truth;
      };
      const changed: number[] = [];
      const { sha256, reports } = await mergeWithNodes(join(temp, "out"), {
        nodes: 1,
        fetch: appFetch([placedApp(temp, { runPlaced: late })]),
        random: () => 0.999,
        executor: { changed: (file) => changed.push(file) },
      });
      expect(sha256).toBe(alone);
      expect(reports.map((r) => r.state)).toEqual(["ready", "banned"]);
      expect(changed.length).toBeGreaterThan(0);
    }));

  test("writes on after its task was given to another has that put right too", () =>
    withTempFolder(async (temp) => {
      let hung = 0;
      // It writes rubbish, is silent until it is given up, and then writes rubbish once more.
      const mad: NodeKernels["runPlaced"] = async (task, places, signal) => {
        if (!places.output) return runPlaced(task, places, signal);
        hung++;
        const rubbish = new Uint8Array(outputBytes(task)).fill(7);
        overwrite(task, places, rubbish);
        await new Promise((stopped) => signal.addEventListener("abort", stopped, { once: true }));
        overwrite(task, places, rubbish);
        throw new Error("aborted");
      };
      const apps = [placedApp(temp, { runPlaced: mad }), placedApp(temp)];
      const { sha256 } = await mergeWithNodes(join(temp, "out"), {
        nodes: 2,
        fetch: appFetch(apps),
        clock: realClock(now, 500),
      });
      expect(sha256).toBe(alone);
      expect(hung).toBeGreaterThan(0);
    }));
});

describe("the places of a task", () => {
  const carried = () => {};
  test("are refused when they are other files than those that were planned with", () =>
    withTempFolder(async (temp) => {
      const [input, output] = [join(temp, "in"), join(temp, "out")];
      writeFileSync(input, new Uint8Array(64));
      writeFileSync(output, new Uint8Array(64));
      const source = fileOpener.source(input) as { identity: { size: number; mtimeNs: string } };
      const version = `${source.identity.size}-${source.identity.mtimeNs}`;
      const inputs = [{ file: 0, path: input, version }];
      const open = (places: TaskPlaces) => openPlaces(places, fileOpener, carried);
      await (await open({ inputs, output: null })).close();
      const stale = [{ ...inputs[0]!, version: version.replace("64-", "65-") }];
      await expect(open({ inputs: stale, output: null })).rejects.toThrow("not the one that was planned with");
      const wrong = { path: output, version: "64-1" };
      await expect(open({ inputs, output: wrong })).rejects.toThrow("not the file that was meant");
      truncateSync(input, 32);
      await expect(open({ inputs, output: null })).rejects.toThrow("not the one that was planned with");
    }));

  test("do not grow: a task that writes beyond the end of its output is refused", () =>
    withTempFolder(async (temp) => {
      const path = join(temp, "out");
      writeFileSync(path, new Uint8Array(64));
      const { ino } = statSync(path, { bigint: true });
      const places: TaskPlaces = { inputs: [], output: { path, version: `64-${ino}` } };
      const { io, close } = await openPlaces(places, fileOpener, carried);
      await io.write({ file: 0, start: 32 }, 16, new Uint8Array(16).fill(1));
      expect(() => io.write({ file: 0, start: 32 }, 17, new Uint8Array(16))).toThrow("beyond the end");
      await close();
      expect([statSync(path).size, readFileSync(path)[63]]).toEqual([64, 1]);
    }));
});

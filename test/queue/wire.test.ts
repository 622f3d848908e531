// Sealed messages: nobody without the token says anything, and nothing is believed beyond its bounds.

import { describe, expect, test } from "bun:test";
import { nodeLimits } from "../../src/remote/limits.ts";
import {
  groupOf,
  helloFault,
  leaseBounds,
  messageBytes,
  type QueueResult,
  type QueueTask,
  queueKey,
  queueProtocol,
  queueResultFault,
  queueTaskFault,
  seal,
  unseal,
} from "../../src/remote/queue-wire.ts";
import { kernels, token } from "../remote/fixture.ts";

const key = queueKey(token);
const job = "ab".repeat(16);
const worker = { id: "cd".repeat(16), name: "w" };
const task: QueueTask = {
  protocol: queueProtocol,
  job,
  lease: 3,
  kernel: kernels.sha256,
  coordinator: "http://127.0.0.1:7500",
  leaseMs: 30_000,
  task: {
    kind: "survey",
    id: 1,
    first: 0,
    count: 100,
    inputs: [{ file: 0, start: 0 }],
    dtypes: ["F32"],
    round: { op: "norms", operands: [{ input: 0, base: null, keep: {} }] },
  },
  ranges: [{ file: 0, start: 0, end: 400 }],
  locators: [{ file: 0, path: "/models/a", version: "400-1" }],
};
const result: QueueResult = {
  protocol: queueProtocol,
  job,
  lease: 3,
  delivery: 1,
  kernel: kernels.sha256,
  worker,
  slice: { kind: "survey", first: 0, count: 100 },
  receipt: null,
  upload: { sha256: "0".repeat(64), length: 10 },
  fault: null,
};
const hello = {
  protocol: queueProtocol,
  worker,
  lanes: 2,
  cores: 1,
  version: "1",
  runtime: "test",
  kernel: kernels.sha256,
  leaving: false,
};

describe("a seal", () => {
  const sealed = seal(key, "task", "a.b", task);

  test("opens to what was sealed, whatever kind of bytes a transport gives", () => {
    expect(unseal(key, "task", "a.b", sealed)).toEqual(task);
    // Pooled, and not at a multiple of eight.
    const pool = Buffer.alloc(sealed.length + 7);
    pool.set(sealed, 3);
    expect(unseal(key, "task", "a.b", pool.subarray(3, 3 + sealed.length))).toEqual(task);
    const arrays = { ...result, receipt: { sums: Float64Array.of(0.1, -0, Number.NaN) } } as unknown as QueueResult;
    const again = seal(key, "result", "s", arrays);
    const odd = Buffer.alloc(again.length + 5);
    odd.set(again, 5);
    const { receipt } = unseal(key, "result", "s", odd.subarray(5)) as { receipt: { sums: Float64Array } };
    for (const [i, sum] of [0.1, -0, Number.NaN].entries()) expect(Object.is(receipt.sums[i], sum)).toBe(true);
  });

  test.each([
    ["another token", queueKey(token.replace("0", "1")), "task", "a.b"],
    ["another kind", key, "result", "a.b"],
    ["another subject", key, "task", "a.c"],
  ] as const)("does not open for %s", (_, other, kind, subject) => {
    expect(unseal(other, kind, subject, sealed)).toBe(null);
  });

  test("does not open when a bit is another one, anywhere, or something is missing", () => {
    for (let i = 0; i < sealed.length; i += 13) {
      const changed = sealed.slice();
      changed[i]! ^= 1;
      expect(unseal(key, "task", "a.b", changed)).toBe(null);
    }
    for (const length of [0, 31, 32, sealed.length - 1])
      expect(unseal(key, "task", "a.b", sealed.subarray(0, length))).toBe(null);
  });

  test("does not open above the limit", () => {
    const fits = (length: number) => {
      const long = { ...task, coordinator: "x".repeat(length) };
      const message = seal(key, "task", "a", long);
      return [message.length, unseal(key, "task", "a", message) !== null] as const;
    };
    const [empty] = fits(0);
    const room = messageBytes - empty - ((messageBytes - empty) % 8);
    expect(fits(room)[1]).toBe(true);
    expect(fits(messageBytes)[1]).toBe(false);
  });
});

test("a group is of one token and one set of kernels", () => {
  const groups = [
    groupOf(key, kernels.sha256),
    groupOf(key, "0".repeat(64)),
    groupOf(queueKey(`${token}x`), kernels.sha256),
  ];
  expect(new Set(groups).size).toBe(3);
  for (const group of groups) expect(group).toMatch(/^[0-9a-f]{16}$/);
});

describe("a worker refuses", () => {
  const faultOf = (changes: object) => queueTaskFault({ ...task, ...changes }, kernels.sha256, nodeLimits.sliceBytes);
  test("nothing that is as it should be", () => {
    expect(faultOf({})).toBe(null);
  });
  test.each([
    ["another version", { protocol: "braid-queue-0" }, "another version"],
    ["other kernels", { kernel: "0".repeat(64) }, "other kernels"],
    ["a job that is none", { job: "../x" }, "no job"],
    ["a lease that is none", { lease: -1 }, "no job or lease"],
    ["a lease that is too short", { leaseMs: leaseBounds.least - 1 }, "no time"],
    ["a lease that is too long", { leaseMs: leaseBounds.most + 1 }, "no time"],
    ["a coordinator that is no origin", { coordinator: "http://h/path" }, "no coordinator"],
    ["a coordinator that is a file", { coordinator: "file:///etc" }, "no coordinator"],
    ["a task that is none", { task: { ...task.task, count: 0 } }, "its slice"],
    ["ranges out of order", { ranges: [{ file: 0, start: 5, end: 4 }] }, "not in order"],
    ["more bytes than a slice", { ranges: [{ file: 0, start: 0, end: nodeLimits.sliceBytes + 1 }] }, "more than"],
    ["locators that are none", { locators: [{ file: 0, url: "http://x" }] }, "locators"],
  ])("%s", (_, changes, why) => {
    expect(faultOf(changes)).toContain(why);
  });
});

describe("a coordinator takes no result", () => {
  const faultOf = (changes: object) => queueResultFault({ ...result, ...changes }, job, kernels.sha256);
  test("but one that is whole", () => {
    expect(faultOf({})).toBe(null);
    expect(faultOf({ upload: null, fault: "too hard" })).toBe(null);
  });
  test.each([
    ["of another job", { job: "ef".repeat(16) }],
    ["of other kernels", { kernel: "0".repeat(64) }],
    ["of another version", { protocol: "braid-queue-2" }],
    ["without a lease", { lease: 0.5 }],
    ["of nobody", { worker: { id: "x", name: "w" } }],
    ["of a name without end", { worker: { ...worker, name: "w".repeat(65) } }],
    ["that says nothing", { upload: null }],
    ["whose upload is none", { upload: { sha256: "xyz", length: 1 } }],
    ["whose fault is none", { fault: 7 }],
  ])("%s", (_, changes) => {
    expect(faultOf(changes)).not.toBe(null);
  });

  test("and no greeting that is none", () => {
    expect(helloFault(hello)).toBe(false);
    for (const changes of [{ lanes: 0 }, { worker: null }, { leaving: 1 }, { protocol: "x" }, { cores: -1 }])
      expect(helloFault({ ...hello, ...changes })).toBe(true);
  });
});

// Nodes that lie, each in its way, after a truthful test merge.

import type { MergeTask } from "../../src/kernel/program.ts";
import { goldenTask } from "../../src/remote/audit.ts";
import type { NodeKernels, TaskData, TaskResult } from "../../src/remote/kernels.ts";
import { seeded } from "../support/seeded.ts";
import { kernels } from "./fixture.ts";

const golden = goldenTask().task.count;
export type Lie = (
  task: MergeTask,
  truth: TaskResult,
  n: number,
  run: (task: MergeTask, data?: TaskData) => Promise<TaskResult>,
  data: TaskData,
) => TaskResult | Promise<TaskResult>;

/** Tells the truth of the test merge, or it would never have joined. */
export function liar(lie: Lie): NodeKernels {
  let n = 0;
  return {
    ...kernels,
    async run(task, data, signal) {
      const truth = await kernels.run(task, data, signal);
      if (task.kind !== "merge" || task.count === golden) return truth;
      return lie(task, truth, n++, (other, stale) => kernels.run(other, stale ?? data, signal), data);
    },
  };
}

export const withOutput = (truth: TaskResult, change: (output: Uint8Array) => void): TaskResult => {
  const output = truth.output.slice();
  change(output);
  return { ...truth, output };
};
export const flipFirst = (output: Uint8Array) => {
  output[0]! ^= 1;
};
const random = seeded(99);
let previous = new Uint8Array();

export const lies: Record<string, Lie> = {
  zeros: (_, truth) => withOutput(truth, (o) => o.fill(0)),
  "random bytes": (_, truth) =>
    withOutput(truth, (o) => {
      for (let i = 0; i < o.length; i++) o[i] = random() * 256;
    }),
  "another seed": (task, _truth, _n, run) => {
    if (task.program.op !== "merge") throw new Error("not what was asked for");
    const terms = task.program.terms.map((t) => {
      const { key, threshold } = t.keep.random!;
      return { ...t, keep: { ...t.keep, random: { key: [key[0] ^ 1, key[1]] as const, threshold } } };
    });
    return run({ ...task, program: { ...task.program, terms } });
  },
  "another slice's bytes": (_, truth) => {
    const before = previous;
    previous = truth.output;
    return withOutput(truth, (o) => {
      for (let i = 0; i < o.length; i++) o[i] = before.length > 0 ? before[i % before.length]! : o[(i + 2) % o.length]!;
    });
  },
  "one ulp in one element": (_, truth, n) =>
    withOutput(truth, (o) => {
      o[((n * 7919) % (o.length / 2)) * 2]! ^= 1;
    }),
  "what other inputs give": (task, _truth, _n, run, data) => {
    // As from a file of an older state: its second half is another one's.
    const bytes = data.bytes.slice();
    const half = bytes.length >> 1;
    bytes.copyWithin(half, 0, bytes.length - half);
    return run(task, { ...data, bytes });
  },
  "a receipt of fewer kept elements": (_, truth) =>
    truth.receipt.kind === "merge"
      ? { ...truth, receipt: { ...truth.receipt, kept: truth.receipt.kept.map((k) => Math.max(0, k - 1)) } }
      : truth,
};

// A merge small enough to check by hand: out = ¼·a + ½·b in f32, over two raw files, cut into slices.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Job } from "../../src/exec/executor.ts";
import type { MergeTask } from "../../src/kernel/program.ts";

export const sliceElements = 8192;
/** A tail that is no multiple of a tile, a vector or a slice. */
export const elements = 5 * sliceElements + 4096 + 37;
/** Where the tensor begins in each of the files. */
const starts = [8, 24, 40] as const;

const sample = (input: number, i: number) => ((i * (input + 3)) % 1009) - 500;

/** Writes the inputs and an empty output of the final length into `folder`. */
export function writeJob(folder: string, workerBytes = 4 << 20): { job: Job; out: string } {
  const paths = ["a", "b", "out"].map((name) => join(folder, `${name}.raw`));
  for (let input = 0; input < 2; input++) {
    const bytes = new Uint8Array(starts[input]! + elements * 4);
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < elements; i++) view.setFloat32(starts[input]! + i * 4, sample(input, i), true);
    writeFileSync(paths[input]!, bytes);
  }
  writeFileSync(paths[2]!, new Uint8Array(starts[2] + elements * 4));
  const files = paths.map((path, i) => ({ path, mode: i < 2 ? ("read" as const) : ("write" as const) }));
  return { job: { files, workerBytes }, out: paths[2]! };
}

export function mergeTask(id: number, first: number, count: number): MergeTask {
  return {
    kind: "merge",
    id,
    first,
    count,
    inputs: [
      { file: 0, start: starts[0] },
      { file: 1, start: starts[1] },
    ],
    output: { file: 2, start: starts[2] },
    program: {
      op: "merge",
      inputs: ["F32", "F32"],
      out: "F32",
      base: null,
      terms: [
        { input: 0, weight: 0.25, scale: 1, keep: {} },
        { input: 1, weight: 0.5, scale: 1, keep: {} },
      ],
      combine: { op: "sum" },
      lambda: 1,
    },
    policy: { nonFinite: "error", overflow: "error" },
  };
}

export function mergeTasks(): MergeTask[] {
  const tasks: MergeTask[] = [];
  for (let first = 0; first < elements; first += sliceElements) {
    tasks.push(mergeTask(tasks.length, first, Math.min(sliceElements, elements - first)));
  }
  return tasks;
}

/** The index of the first element of the output that is not as it should be, or −1. */
export function firstWrong(out: string): number {
  const bytes = readFileSync(out);
  if (bytes.byteLength !== starts[2] + elements * 4) return 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i < elements; i++) {
    // Exact in f32: multiples of ¼ below 1,000.
    if (view.getFloat32(starts[2] + i * 4, true) !== 0.25 * sample(0, i) + 0.5 * sample(1, i)) return i;
  }
  return -1;
}

// Runs a factor program on f32 matrices in memory, for tests.

import type { FactorProgram } from "../../src/kernel/factor-program.ts";
import { compileKernel, createKernel } from "../../src/kernel/kernel.ts";
import type { MergeReceipt } from "../../src/kernel/program.ts";
import { Runner } from "../../src/kernel/run.ts";

const module = compileKernel();

export interface FactorResult {
  /** [rank, in] and [out, rank]. */
  readonly a: Float32Array;
  readonly b: Float32Array;
  readonly receipt: MergeReceipt;
}

export interface FactorCase extends Partial<FactorProgram> {
  readonly rows: number;
  readonly columns: number;
  readonly rank: number;
  readonly signal?: AbortSignal;
  readonly beat?: (share: number) => void;
  /** Bytes of the worker's memory before the task. */
  readonly bytes?: number;
}

/** The program on inputs as they are given: base and model, or A and B of each pair. */
export async function runFactor(inputs: readonly Float32Array[], given: FactorCase): Promise<FactorResult> {
  const { rows, columns, rank, transposed = false, signal, beat, bytes = 1 << 20, ...rest } = given;
  const [out, inner] = transposed ? [columns, rows] : [rows, columns];
  const a = new Float32Array(rank * inner);
  const b = new Float32Array(out * rank);
  const files = [...inputs, a, b].map((f) => new Uint8Array(f.buffer, f.byteOffset, f.byteLength));
  const runner = new Runner(
    createKernel(module, bytes),
    {
      read: (at, offset, target) => target.set(files[at.file]!.subarray(offset, offset + target.length)),
      write: (at, offset, data) => files[at.file]!.set(data, offset),
      ...(beat ? { beat } : {}),
    },
    () => performance.now(),
  );
  const receipt = await runner.run(
    {
      kind: "merge",
      id: 0,
      first: 0,
      count: rows * columns,
      inputs: inputs.map((_, file) => ({ file, start: 0 })),
      output: { file: inputs.length, start: 0 },
      policy: { nonFinite: "error", overflow: "error" },
      program: {
        op: "factor",
        inputs: inputs.map(() => "F32" as const),
        out: "F32",
        rows,
        columns,
        rank,
        scale: 1,
        transposed,
        b: { file: inputs.length + 1, start: 0 },
        source: { op: "delta", sketch: null },
        ...rest,
      },
    },
    signal,
  );
  if (receipt.kind !== "merge") throw new Error("a factor task is a merge");
  return { a, b, receipt };
}

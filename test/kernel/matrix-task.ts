// Runs a matrix program on f32 matrices in memory, for tests.

import { compileKernel, createKernel } from "../../src/kernel/kernel.ts";
import type { MatrixRule, MergeReceipt, Policy } from "../../src/kernel/program.ts";
import { Runner } from "../../src/kernel/run.ts";

const module = compileKernel();

export interface MatrixCase {
  readonly rows: number;
  readonly columns: number;
  readonly base?: ArrayLike<number>;
  /** Deltas to the base, or to zero. */
  readonly deltas: readonly ArrayLike<number>[];
  readonly rule: MatrixRule;
  readonly weights?: readonly number[];
  readonly lambda?: number;
  readonly policy?: Policy;
  readonly beat?: (share: number) => void;
}

export async function runMatrix(given: MatrixCase): Promise<{ values: Float32Array; receipt: MergeReceipt }> {
  const { rows, columns, deltas, rule } = given;
  const count = rows * columns;
  const base = Float32Array.from(given.base ?? new Float32Array(count));
  const files = [base, ...deltas.map((d) => Float32Array.from(base, (b, i) => b + d[i]!))];
  const values = new Float32Array(count);
  const bytes = [...files, values].map((f) => new Uint8Array(f.buffer));
  const runner = new Runner(
    createKernel(module, 1 << 20),
    {
      read: (at, offset, target) => target.set(bytes[at.file]!.subarray(offset, offset + target.length)),
      write: (at, offset, data) => bytes[at.file]!.set(data, offset),
      ...(given.beat ? { beat: given.beat } : {}),
    },
    () => performance.now(),
  );
  const receipt = await runner.run({
    kind: "merge",
    id: 0,
    first: 0,
    count,
    inputs: files.map((_, file) => ({ file, start: 0 })),
    output: { file: files.length, start: 0 },
    policy: given.policy ?? { nonFinite: "error", overflow: "error" },
    program: {
      op: "matrix",
      inputs: files.map(() => "F32" as const),
      out: "F32",
      rows,
      columns,
      base: 0,
      terms: deltas.map((_, i) => ({ input: i + 1, weight: given.weights?.[i] ?? 1 })),
      rule,
      lambda: given.lambda ?? 1,
    },
  });
  if (receipt.kind !== "merge") throw new Error("a matrix task is a merge");
  return { values, receipt };
}

// npx bun bench/spectral.ts -- [--shapes 1024x1024,4096x4096] [--methods star,iso_c,tsv] [--python PYTHON]
//
// Time and accuracy of the methods on whole matrices: two deltas of a spectrum that decays, and noise; what Braid makes of them, on one
// core; and, with --python, the same from LAPACK through numpy on one thread (bench/peers/lapack.py), with the relative errors
// ‖ours − theirs‖ / ‖theirs‖. Seconds are CPU seconds.

import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { Algebra } from "../src/kernel/algebra.ts";
import { gram, leftVectors } from "../src/kernel/components.ts";
import { compileKernel, createKernel } from "../src/kernel/kernel.ts";
import { matrixBytes, matrixFlops } from "../src/kernel/matrix-cost.ts";
import type { MatrixProgram, MatrixRule } from "../src/kernel/program.ts";
import { Runner } from "../src/kernel/run.ts";

const { values: options } = parseArgs({
  options: {
    shapes: { type: "string", default: "1024x1024" },
    methods: { type: "string", default: "star,tsv,iso_c,free" },
    python: { type: "string" },
  },
  allowPositionals: true,
});
const models = 2;
const folder = resolve(import.meta.dirname, "data/spectral");
mkdirSync(folder, { recursive: true });
const module = compileKernel();

/** 48 components, each 0.8 of the one before, and noise a thousandth of the first: as a fine-tune's deltas in bf16 look. */
function delta(seed: number, rows: number, columns: number): Float32Array {
  let x = seed;
  const next = () => {
    x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff;
    return (x >> 15) / 2 ** 15 - 1;
  };
  const total = new Float32Array(rows * columns);
  let strength = 1;
  for (let p = 0; p < 48; p++, strength *= 0.8) {
    const a = Float64Array.from({ length: rows }, next);
    const b = Float64Array.from({ length: columns }, next);
    for (let i = 0; i < rows; i++) {
      const s = a[i]! * strength;
      for (let j = 0; j < columns; j++) total[i * columns + j]! += s * b[j]!;
    }
  }
  const noise = Math.sqrt(Math.max(rows, columns)) / 10 / 3;
  for (let i = 0; i < total.length; i++) total[i]! += (next() * noise) / 100;
  return total;
}

const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

function ruleOf(method: string, side: number): MatrixRule {
  if (method === "star") return { op: "star", share: 0.4 };
  if (method === "tsv") return { op: "tsv", rank: Math.floor(side / models) };
  if (method === "iso_c") return { op: "isotropic", common: side, specific: 0 };
  if (method === "free") return { op: "high-pass", cutoff: 0.3, energy: true };
  throw new Error(`--methods are star, tsv, iso_c, free, not ${method}`);
}

async function run(program: MatrixProgram, deltas: readonly Float32Array[]): Promise<Float32Array> {
  const count = program.rows * program.columns;
  const out = new Float32Array(count);
  const files = [new Float32Array(count), ...deltas, out].map((f) => new Uint8Array(f.buffer));
  const runner = new Runner(
    createKernel(module, 1 << 22),
    {
      read: (at, offset, target) => target.set(files[at.file]!.subarray(offset, offset + target.length)),
      write: (at, offset, data) => files[at.file]!.set(data, offset),
    },
    () => performance.now(),
  );
  await runner.run({
    kind: "merge",
    id: 0,
    first: 0,
    count,
    inputs: [0, ...program.terms.map((t) => t.input)].map((file) => ({ file, start: 0 })),
    output: { file: files.length - 1, start: 0 },
    policy: { nonFinite: "error", overflow: "error" },
    program,
  });
  return out;
}

for (const shape of options.shapes.split(",")) {
  const [rows, columns] = shape.split("x").map(Number) as [number, number];
  const deltas = Array.from({ length: models }, (_, i) => delta(i + 1, rows, columns));
  deltas.forEach((d, i) => {
    writeFileSync(join(folder, `delta-${i}.f32`), new Uint8Array(d.buffer));
  });
  const side = Math.min(rows, columns);
  const base = { op: "matrix", out: "F32", rows, columns, base: 0, lambda: 1 } as const;
  const spec = (method: string): MatrixProgram => ({
    ...base,
    inputs: ["F32", "F32", "F32"].slice(0, models + 1) as "F32"[],
    terms: deltas.map((_, i) => ({ input: i + 1, weight: method === "star" ? 1 / models : 1 })),
    rule: ruleOf(method, side),
  });

  const kernel = createKernel(module, matrixBytes(spec("star")));
  const algebra = new Algebra(kernel, kernel.heapStart);
  const a = algebra.narrowMatrix(side, Math.max(rows, columns));
  if (rows > columns) throw new Error("--shapes are wide or square here");
  algebra.u8(a.at, deltas[0]!.byteLength).set(new Uint8Array(deltas[0]!.buffer));
  let sigma = new Float64Array(0);
  const started = cpu();
  await leftVectors(
    algebra,
    await gram(algebra, a, () => {}),
    (values) => {
      sigma = values.slice();
      return values.length;
    },
    () => {},
  );
  const times: Record<string, number> = { svd: cpu() - started };
  writeFileSync(join(folder, "sigma.f64"), new Uint8Array(sigma.buffer));
  console.log(`${shape}: all left singular vectors ${times.svd!.toFixed(1)} s`);
  for (const method of options.methods.split(",")) {
    const program = spec(method);
    const before = cpu();
    const out = await run(program, deltas);
    times[method] = cpu() - before;
    writeFileSync(join(folder, `${method}.f32`), new Uint8Array(out.buffer));
    const flops = matrixFlops(program);
    console.log(
      `${shape}: ${method} ${times[method]!.toFixed(1)} s, ${(flops / 1e9).toFixed(0)} Gflop planned, ${(flops / 1e9 / times[method]!).toFixed(1)} a second`,
    );
  }
  if (!options.python) continue;
  const script = join(import.meta.dirname, "peers/lapack.py");
  const one = { OPENBLAS_NUM_THREADS: "1", OMP_NUM_THREADS: "1", MKL_NUM_THREADS: "1" };
  spawnSync(options.python, [script, folder, String(rows), String(columns), options.methods], {
    stdio: "inherit",
    env: { ...process.env, ...one },
  });
}

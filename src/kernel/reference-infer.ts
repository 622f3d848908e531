// The twins of assembly/infer.ts, as reference.ts has them.

import { dot } from "./reference.ts";
import { roundEven } from "./reference-importance.ts";

const f = Math.fround;

/** Rows of x (each `depth` long) by rows of w: out[i][j], in the order of sums that the kernel promises. */
export function project(x: Float32Array, w: Float32Array, depth: number): Float32Array[] {
  const rows = depth === 0 ? 0 : x.length / depth;
  const count = depth === 0 ? 0 : w.length / depth;
  return Array.from({ length: rows }, (_, i) =>
    Float32Array.from({ length: count }, (_, j) => {
      const lanes = [0, 0, 0, 0];
      for (let k = 0; k < depth; k++) {
        lanes[k % 4] = f(lanes[k % 4]! + f(x[i * depth + k]! * w[j * depth + k]!));
      }
      const [a, b, c, d] = lanes as [number, number, number, number];
      return f(f(a + c) + f(b + d));
    }),
  );
}

export function rms_norm(x: Float32Array, weight: Float32Array, epsilon: number): Float32Array {
  const r = f(1 / Math.sqrt(dot(x, x) / x.length + epsilon));
  return x.map((v, i) => f(weight[i]! * f(v * r)));
}

export function rotate_half(x: Float32Array, cosines: Float32Array, sines: Float32Array): Float32Array {
  const half = cosines.length;
  const out = x.slice();
  for (let i = 0; i < half; i++) {
    const [a, b, c, s] = [x[i]!, x[half + i]!, cosines[i]!, sines[i]!];
    out[i] = f(f(a * c) - f(b * s));
    out[half + i] = f(f(b * c) + f(a * s));
  }
  return out;
}

/** e^x in f32, in the steps of the kernel. */
export function power(x: number): number {
  if (Number.isNaN(x)) return x;
  if (x < f(-87.3)) return 0;
  const at = Math.min(x, f(88.3));
  const k = roundEven(f(at * f(Math.LOG2E)));
  const r = f(f(at - f(k * 0.693145751953125)) - f(k * f(1.4286068e-6)));
  let series = 0;
  for (const divisor of [5040, 720, 120, 24, 6, 2]) series = f(f(series * r) + f(1 / divisor));
  return f(f(1 + f(r + f(f(r * r) * series))) * 2 ** k);
}

export function softmax(x: Float32Array, scale: number): Float32Array {
  const scaled = x.map((v) => f(scale) * v);
  const top = scaled.reduce((most, v) => (Number.isNaN(v) ? v : Math.max(most, v)), -Infinity);
  const powers = scaled.map((v) => power(f(v - top)));
  const lanes = [0, 0, 0, 0];
  for (const [k, p] of powers.entries()) lanes[k % 4] = f(lanes[k % 4]! + p);
  const [a, b, c, d] = lanes as [number, number, number, number];
  const sum = f(f(a + c) + f(b + d));
  return powers.map((p) => p / sum);
}

export function swiglu(gate: Float32Array, up: Float32Array): Float32Array {
  return gate.map((g, i) => f(f(g / f(1 + power(-g))) * up[i]!));
}

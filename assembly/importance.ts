// How much a row's change matters (Arcee Fusion): |x − base| times the divergence of the softmax of both rows.

import { exp, log } from "./exponential";

const epsilon: f64 = 1e-8;

@inline
function finite(ptr: usize): bool {
  return (load<u32>(ptr) & 0x7f800000) != 0x7f800000;
}

/** Σ p·log(p/q), p and q the softmax of x and of base plus 1e-8, of the elements that are finite in both. Not below 0. */
function divergence(x: usize, base: usize, columns: usize): f64 {
  const end = x + (columns << 2);
  let topX: f64 = -Infinity;
  let topBase: f64 = -Infinity;
  for (let at = x, from = base; at < end; at += 4, from += 4) {
    if (!finite(at) || !finite(from)) continue;
    topX = max(topX, <f64>load<f32>(at));
    topBase = max(topBase, <f64>load<f32>(from));
  }
  let sumX: f64 = 0;
  let sumBase: f64 = 0;
  for (let at = x, from = base; at < end; at += 4, from += 4) {
    if (!finite(at) || !finite(from)) continue;
    sumX += exp(<f64>load<f32>(at) - topX);
    sumBase += exp(<f64>load<f32>(from) - topBase);
  }
  let total: f64 = 0;
  for (let at = x, from = base; at < end; at += 4, from += 4) {
    if (!finite(at) || !finite(from)) continue;
    const p = exp(<f64>load<f32>(at) - topX) / sumX + epsilon;
    const q = exp(<f64>load<f32>(from) - topBase) / sumBase + epsilon;
    total += p * log(p / q);
  }
  return max(total, 0.0);
}

export function importance(out: usize, x: usize, base: usize, columns: usize, count: usize): void {
  const rowBytes = columns << 2;
  const end = out + (count << 2);
  for (; out < end; x += rowBytes, base += rowBytes) {
    const factor = <f32>divergence(x, base, columns);
    for (let i: usize = 0; i < rowBytes; i += 4, out += 4) {
      store<f32>(out, abs(load<f32>(x + i) - load<f32>(base + i)) * factor);
    }
  }
}

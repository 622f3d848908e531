// exp and log in f64 from + − × ÷ alone: engines and platforms differ in theirs. Both come within 1 ulp of the true value
// (test/kernel/importance.test.ts). ln 2 is split so that a multiple of its first part by any exponent is exact.

const log2e: f64 = 1.4426950408889634;
const ln2High: f64 = 0.6931471803691238;
const ln2Low: f64 = 1.9082149292705877e-10;

/** 2^k, for a normal result. */
function power(k: i32): f64 {
  return reinterpret<f64>(<u64>(k + 1023) << 52);
}

export function exp(x: f64): f64 {
  if (x != x) return x;
  if (x > 709.782712893384) return Infinity;
  if (x < -745.1332191019412) return 0;
  // x = k·ln 2 + r + rest, |r| ≤ ln 2 / 2.
  const k = nearest(x * log2e);
  const high = x - k * ln2High;
  const low = k * ln2Low;
  const r = high - low;
  const rest = high - r - low;
  // Σ r^(j − 2) / j! from j = 2: at r = 0.35 the term of j = 14 is below 1e-17.
  let series: f64 = 1.0 / 6227020800.0;
  series = series * r + 1.0 / 479001600.0;
  series = series * r + 1.0 / 39916800.0;
  series = series * r + 1.0 / 3628800.0;
  series = series * r + 1.0 / 362880.0;
  series = series * r + 1.0 / 40320.0;
  series = series * r + 1.0 / 5040.0;
  series = series * r + 1.0 / 720.0;
  series = series * r + 1.0 / 120.0;
  series = series * r + 1.0 / 24.0;
  series = series * r + 1.0 / 6.0;
  series = series * r + 0.5;
  const value = 1.0 + (r + (rest + r * r * series));
  // In two steps: 2^k itself may be too large, or subnormal.
  const half = <i32>k >> 1;
  return value * power(half) * power(<i32>k - half);
}

export function log(x: f64): f64 {
  if (x != x || x < 0) return NaN;
  if (x == 0) return -Infinity;
  if (x == Infinity) return x;
  let k: i32 = 0;
  if (x < 2.2250738585072014e-308) {
    x *= 18014398509481984.0; // 2^54
    k = -54;
  }
  const bits = reinterpret<u64>(x);
  k += <i32>(bits >> 52) - 1023;
  let m = reinterpret<f64>((bits & 0x000fffffffffffff) | 0x3ff0000000000000);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    k++;
  }
  // log(1 + f) = 2·artanh(s), s = f / (2 + f), and 2s = f − s·f = f − (f²/2 − s·f²/2).
  const f = m - 1.0;
  const s = f / (2.0 + f);
  const z = s * s;
  let series: f64 = 2.0 / 23.0;
  series = series * z + 2.0 / 21.0;
  series = series * z + 2.0 / 19.0;
  series = series * z + 2.0 / 17.0;
  series = series * z + 2.0 / 15.0;
  series = series * z + 2.0 / 13.0;
  series = series * z + 2.0 / 11.0;
  series = series * z + 2.0 / 9.0;
  series = series * z + 2.0 / 7.0;
  series = series * z + 2.0 / 5.0;
  series = series * z + 2.0 / 3.0;
  series = series * z;
  const halfSquare = 0.5 * f * f;
  const e = <f64>k;
  return e * ln2High - (halfSquare - (s * (halfSquare + series) + e * ln2Low) - f);
}

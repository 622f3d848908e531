// Conversions between f64 and f32. Arithmetic stays in f32: f64 is a way to store.

/** f64 to f32, nearest even, any NaN to 7fc00000. */
export function decode_f64(out: usize, input: usize, count: usize): void {
  for (const end = out + (count << 2); out < end; out += 4, input += 8) {
    const x = <f32>load<f64>(input);
    store<u32>(out, x == x ? reinterpret<u32>(x) : 0x7fc00000);
  }
}

/** f32 to f64: exact, any NaN to 7ff8000000000000. */
export function encode_f64(out: usize, input: usize, count: usize): void {
  for (const end = input + (count << 2); input < end; input += 4, out += 8) {
    const x = load<f32>(input);
    if (x == x) store<f64>(out, <f64>x);
    else store<u64>(out, 0x7ff8000000000000);
  }
}

/** The smallest magnitude that f32 rounds to infinity, 2^128 − 2^103, as bits of f64. */
const beyondF32: u64 = 0x47effffff0000000;

/** How many are NaN, infinite, or beyond what an f32 holds. */
export function nonfinite_f64(input: usize, count: usize): i32 {
  let total = 0;
  for (const end = input + (count << 3); input < end; input += 8) {
    total += i32((load<u64>(input) & 0x7fffffffffffffff) >= beyondF32);
  }
  return total;
}

export function first_nonfinite_f64(input: usize, count: usize): i32 {
  for (let i: usize = 0; i < count; i++) {
    if ((load<u64>(input + (i << 3)) & 0x7fffffffffffffff) >= beyondF32) return <i32>i;
  }
  return -1;
}

// The discrete Fourier transform of complex f64 (real and imaginary part side by side: one vector) of any length whose prime
// factors are small, by Stockham's self-sorting steps. Twiddle factors come as a table: no kernel computes an angle.

/** a·w. */
@inline
function times(a: v128, w: v128): v128 {
  const re = i64x2.shuffle(w, w, 0, 0);
  const im = i64x2.shuffle(w, w, 1, 1);
  // (a.re·w.re − a.im·w.im, a.im·w.re + a.re·w.im)
  const crossed = f64x2.mul(i64x2.shuffle(a, a, 1, 0), im);
  return f64x2.add(f64x2.mul(a, re), v128.xor(crossed, i64x2(<i64>0x8000000000000000, 0)));
}

/** −i·a: (a.im, −a.re). */
@inline
function turned(a: v128): v128 {
  return v128.xor(i64x2.shuffle(a, a, 1, 0), i64x2(0, <i64>0x8000000000000000));
}

/**
 * One step of radix p over x (n numbers) to y: s is the product of the radices before. `twiddles` are the n powers of e^(−2πi/n),
 * or of its conjugate for the way back; `back` says which, for radix 4. `corner` has room for p numbers.
 */
export function fourier_step(
  y: usize,
  x: usize,
  n: usize,
  p: usize,
  s: usize,
  twiddles: usize,
  back: i32,
  corner: usize,
): void {
  const q = n / s / p;
  const hop = (s * q) << 4;
  for (let t: usize = 0; t < q; t++) {
    const from = x + ((s * t) << 4);
    const to = y + ((s * t * p) << 4);
    const w = s * t;
    if (p == 2) {
      const w1 = v128.load(twiddles + (w << 4));
      for (let u: usize = 0; u < s << 4; u += 16) {
        const a = v128.load(from + u);
        const b = v128.load(from + u + hop);
        v128.store(to + u, f64x2.add(a, b));
        v128.store(to + u + (s << 4), times(f64x2.sub(a, b), w1));
      }
    } else if (p == 4) {
      const w1 = v128.load(twiddles + (w << 4));
      const w2 = v128.load(twiddles + ((2 * w) << 4));
      const w3 = v128.load(twiddles + ((3 * w) << 4));
      for (let u: usize = 0; u < s << 4; u += 16) {
        const a = v128.load(from + u);
        const b = v128.load(from + u + hop);
        const c = v128.load(from + u + 2 * hop);
        const d = v128.load(from + u + 3 * hop);
        const ac = f64x2.add(a, c);
        const bd = f64x2.add(b, d);
        const less = f64x2.sub(a, c);
        const side = back ? turned(f64x2.sub(d, b)) : turned(f64x2.sub(b, d));
        v128.store(to + u, f64x2.add(ac, bd));
        v128.store(to + u + (s << 4), times(f64x2.add(less, side), w1));
        v128.store(to + u + ((2 * s) << 4), times(f64x2.sub(ac, bd), w2));
        v128.store(to + u + ((3 * s) << 4), times(f64x2.sub(less, side), w3));
      }
    } else {
      // Any other radix by its definition, r ascending.
      const root = n / p;
      for (let u: usize = 0; u < s << 4; u += 16) {
        for (let r: usize = 0; r < p; r++) v128.store(corner + (r << 4), v128.load(from + u + r * hop));
        for (let k: usize = 0; k < p; k++) {
          let sum = v128.load(corner);
          let at: usize = 0;
          for (let r: usize = 1; r < p; r++) {
            at += k;
            if (at >= p) at -= p;
            sum = f64x2.add(sum, times(v128.load(corner + (r << 4)), v128.load(twiddles + ((at * root) << 4))));
          }
          v128.store(to + u + ((k * s) << 4), times(sum, v128.load(twiddles + ((k * w) << 4))));
        }
      }
    }
  }
}

/** out ← a·b, number by number; `out` may be either. */
export function multiply_complex(out: usize, a: usize, b: usize, count: usize): void {
  const end = a + (count << 4);
  for (; a < end; a += 16, b += 16, out += 16) v128.store(out, times(v128.load(a), v128.load(b)));
}

// Discrete Fourier transforms of any length in the kernels' memory: steps of small radices, and for lengths with a large prime
// factor the convolution of Bluestein (1970).

import type { Algebra } from "./algebra.ts";
import { turn } from "./turn.ts";

/** Radices above this cost more by definition than a convolution of twice the length and more. */
export const maxRadix = 64;

/** 4s first, then 2, then odd primes. */
export function radices(n: number): number[] {
  const found: number[] = [];
  let rest = n;
  for (; rest % 4 === 0; rest /= 4) found.push(4);
  for (let p = 2; p * p <= rest; p += p === 2 ? 1 : 2) for (; rest % p === 0; rest /= p) found.push(p);
  if (rest > 1) found.push(rest);
  return found;
}

function hasSmallRadices(n: number): boolean {
  return radices(n).every((p) => p <= maxRadix);
}

/** The power of two that holds the linear convolution of n numbers. */
function paddedLength(n: number): number {
  let m = 1;
  while (m < 2 * n - 1) m *= 2;
  return m;
}

/** Bytes that a transform of length n keeps, its two working arrays among them. */
export function fourierBytes(n: number): number {
  const own = 16 * (4 * n + maxRadix) + 6 * 64;
  if (hasSmallRadices(n)) return own;
  return 16 * (n + 3 * paddedLength(n)) + fourierBytes(paddedLength(n)) + own;
}

/** Operations of one transform, for estimates. */
export function fourierFlops(n: number): number {
  if (!hasSmallRadices(n)) return 2 * fourierFlops(paddedLength(n)) + 20 * paddedLength(n);
  return radices(n).reduce((sum, p) => sum + n * (p === 2 ? 10 : p === 4 ? 9 : 8 * p + 14), 0);
}

/** A transform of one length. Not scaled: there and back multiplies by n. */
export class Fourier {
  readonly n: number;
  /** n complex numbers: put the input here; it is overwritten. */
  readonly input: number;
  private readonly algebra: Algebra;
  private readonly other: number;
  private readonly there: number;
  private readonly back: number;
  private readonly corner: number;
  private readonly steps: readonly number[];
  private readonly chirp: Chirp | null;

  constructor(algebra: Algebra, n: number) {
    this.algebra = algebra;
    this.n = n;
    this.steps = radices(n);
    this.input = algebra.bytes(16 * n);
    this.other = algebra.bytes(16 * n);
    this.there = algebra.bytes(16 * n);
    this.back = algebra.bytes(16 * n);
    this.corner = algebra.bytes(16 * maxRadix);
    this.chirp = hasSmallRadices(n) ? null : new Chirp(algebra, n);
    const { f64 } = algebra;
    for (let j = 0; j < n && !this.chirp; j++) {
      const { cos, sin } = turn(j, n);
      f64[this.there / 8 + 2 * j] = f64[this.back / 8 + 2 * j] = cos;
      f64[this.there / 8 + 2 * j + 1] = -sin;
      f64[this.back / 8 + 2 * j + 1] = sin;
    }
  }

  /** Transforms what is at `input` by e^(−2πi·jk/n), or by its conjugate. Returns where the result lies, until the next call. */
  transform(back: boolean): number {
    if (this.chirp) return this.chirp.transform(this.input, this.other, back);
    let [x, y] = [this.input, this.other];
    let s = 1;
    const twiddles = back ? this.back : this.there;
    for (const p of this.steps) {
      this.algebra.e.fourier_step(y, x, this.n, p, s, twiddles, back ? 1 : 0, this.corner);
      [x, y] = [y, x];
      s *= p;
    }
    return x;
  }
}

/** jk = (j² + k² − (k − j)²)/2 makes a transform a convolution with e^(πi·j²/n), of a length that is a power of two. */
class Chirp {
  private readonly algebra: Algebra;
  private readonly n: number;
  private readonly m: number;
  private readonly inner: Fourier;
  /** e^(−πi·j²/n). */
  private readonly wave: number;
  /** The transform of the conjugate wave, wrapped around, over m. */
  private readonly filter: number;
  private readonly product: number;

  constructor(algebra: Algebra, n: number) {
    this.algebra = algebra;
    this.n = n;
    this.m = paddedLength(n);
    this.wave = algebra.bytes(16 * n);
    this.filter = algebra.bytes(16 * this.m);
    this.product = algebra.bytes(16 * this.m);
    this.inner = new Fourier(algebra, this.m);
    const { f64 } = algebra;
    const at = this.inner.input / 8;
    f64.fill(0, at, at + 2 * this.m);
    for (let j = 0; j < n; j++) {
      // j² modulo 2n, in whole numbers: j below 2²⁶ keeps it exact.
      const { cos, sin } = turn((j * j) % (2 * n), 2 * n);
      f64[this.wave / 8 + 2 * j] = cos;
      f64[this.wave / 8 + 2 * j + 1] = -sin;
      for (const k of j === 0 ? [0] : [j, this.m - j]) {
        f64[at + 2 * k] = cos;
        f64[at + 2 * k + 1] = sin;
      }
    }
    const transformed = this.inner.transform(false) / 8;
    for (let j = 0; j < 2 * this.m; j++) f64[this.filter / 8 + j] = f64[transformed + j]! / this.m;
  }

  transform(input: number, out: number, back: boolean): number {
    const { e, f64 } = this.algebra;
    const { n, m, inner } = this;
    // The way back is the way there between two conjugations.
    const conjugate = (at: number) => {
      for (let j = 0; j < n; j++) f64[at / 8 + 2 * j + 1] = -f64[at / 8 + 2 * j + 1]!;
    };
    if (back) conjugate(input);
    e.multiply_complex(inner.input, input, this.wave, n);
    f64.fill(0, inner.input / 8 + 2 * n, inner.input / 8 + 2 * m);
    const there = inner.transform(false);
    e.multiply_complex(this.product, there, this.filter, m);
    // Of the conjugate, so that the same direction does for the way back.
    for (let j = 0; j < m; j++) {
      f64[inner.input / 8 + 2 * j] = f64[this.product / 8 + 2 * j]!;
      f64[inner.input / 8 + 2 * j + 1] = -f64[this.product / 8 + 2 * j + 1]!;
    }
    const convolved = inner.transform(false);
    for (let j = 0; j < n; j++) f64[convolved / 8 + 2 * j + 1] = -f64[convolved / 8 + 2 * j + 1]!;
    e.multiply_complex(out, convolved, this.wave, n);
    if (back) conjugate(out);
    return out;
  }
}

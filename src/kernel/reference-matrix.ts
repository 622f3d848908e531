// The twins of assembly/matrix.ts and assembly/fourier.ts, as reference.ts has them: one element at a time, on plain arrays, in
// the order of sums that the kernels promise.

const f = Math.fround;
type Numbers = ArrayLike<number>;

/** c + (factor·a)·b: of every element, 256 inner indices at a time from +0. Strides count elements. */
export function gemm(
  c: Float64Array,
  cRow: number,
  a: Numbers,
  aRow: number,
  aColumn: number,
  b: Numbers,
  bRow: number,
  bColumn: number,
  m: number,
  n: number,
  depth: number,
  factor: number,
): Float64Array {
  const out = c.slice();
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      for (let k = 0; k < depth; k += 256) {
        let sum = 0;
        for (let q = k; q < Math.min(k + 256, depth); q++) {
          sum += factor * a[i * aRow + q * aColumn]! * b[q * bRow + j * bColumn]!;
        }
        out[i * cRow + j]! += sum;
      }
    }
  }
  return out;
}

export function dot(a: Numbers, b: Numbers): number {
  let [even, odd] = [0, 0];
  const pairs = a.length - (a.length % 2);
  for (let i = 0; i < pairs; i += 2) {
    even += a[i]! * b[i]!;
    odd += a[i + 1]! * b[i + 1]!;
  }
  if (pairs < a.length) even += a[pairs]! * b[pairs]!;
  return even + odd;
}

export function axpy(acc: Float64Array, x: Numbers, factor: number): Float64Array {
  return acc.map((v, i) => v + factor * x[i]!);
}

export function scale(x: Float64Array, factor: number): Float64Array {
  return x.map((v) => factor * v);
}

export function rotate(x: Float64Array, y: Float64Array, c: number, s: number): [Float64Array, Float64Array] {
  return [x.map((v, i) => c * v + s * y[i]!), y.map((v, i) => c * v - s * x[i]!)];
}

/** y + A·x by the lower triangle: four rows at a time, the part left of their square in pairs of columns, then the square. */
export function symv(y: Float64Array, a: Numbers, stride: number, x: Numbers, n: number): Float64Array {
  const out = y.slice();
  const at = (i: number, j: number) => a[i >= j ? i * stride + j : j * stride + i]!;
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const even = [0, 0, 0, 0];
    const odd = [0, 0, 0, 0];
    for (let j = 0; j < i; j++) {
      for (let r = 0; r < 4; r++) (j % 2 === 0 ? even : odd)[r]! += at(i + r, j) * x[j]!;
      const [p, q, r, s] = [0, 1, 2, 3].map((k) => at(i + k, j) * x[i + k]!) as [number, number, number, number];
      out[j]! += p + q + (r + s);
    }
    for (let r = 0; r < 4; r++) out[i + r]! += even[r]! + odd[r]!;
    for (let r = 0; r < 4; r++) for (let k = 0; k < 4; k++) out[i + r]! += at(i + r, i + k) * x[i + k]!;
  }
  for (; i < n; i++) {
    let sum = 0;
    for (let j = 0; j < i; j++) {
      sum += at(i, j) * x[j]!;
      out[j]! += at(i, j) * x[i]!;
    }
    out[i]! += sum + at(i, i) * x[i]!;
  }
  return out;
}

export function transpose(input: Float32Array, inRow: number, m: number, n: number): Float32Array {
  return Float32Array.from({ length: m * n }, (_, k) => input[(k % m) * inRow + Math.floor(k / m)]!);
}

export function narrow(x: Float64Array): Float32Array {
  return Float32Array.from(x, f);
}

/** Σ x_j·e^(∓2πi·jk/n) by its definition; for n that small errors of Math.cos do not matter. */
export function fourier(x: Float64Array, back: boolean): Float64Array {
  const n = x.length / 2;
  const out = new Float64Array(2 * n);
  for (let k = 0; k < n; k++) {
    for (let j = 0; j < n; j++) {
      const angle = ((back ? 2 : -2) * Math.PI * ((j * k) % n)) / n;
      const [c, s] = [Math.cos(angle), Math.sin(angle)];
      out[2 * k]! += x[2 * j]! * c - x[2 * j + 1]! * s;
      out[2 * k + 1]! += x[2 * j]! * s + x[2 * j + 1]! * c;
    }
  }
  return out;
}

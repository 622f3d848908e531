// Slow, obvious twins of the kernels on columns (assembly/lines.ts).

/** What each column's sum becomes: element i is of column (first + i) mod sums.length. */
export function dotsColumns(sums: Float64Array, a: Float32Array, b: Float32Array, first: number): Float64Array {
  const out = sums.slice();
  a.forEach((x, i) => {
    out[(first + i) % sums.length]! += x * b[i]!;
  });
  return out;
}

export function scaleEach(x: Float32Array, c: Float32Array): Float32Array {
  return x.map((v, i) => v * c[i]!);
}

export function axpyEach(acc: Float32Array, x: Float32Array, c: Float32Array): Float32Array {
  return acc.map((a, i) => a + Math.fround(x[i]! * c[i]!));
}

export function countSigns(x: Float32Array): [above: number, below: number] {
  return [x.filter((v) => v > 0).length, x.filter((v) => v < 0).length];
}

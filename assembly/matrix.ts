// Dense matrices in f64: the product that carries almost all of the work, and the passes over vectors that are left.
//
// Matrices are row-major; strides count elements. Every element of a product is one sum in the order of the inner index,
// restarted every 256 of them, so its bits depend neither on the block it lies in nor on the lane that holds it.

/** Inner indices, rows and columns that are packed together: A's block stays in L2, a sliver of B in L1. */
const inner: usize = 256;
const rows: usize = 96;
const columns: usize = 1024;
/** Four rows of A by four columns of B: 8 vectors of sums, which leaves 8 of x86's 16 registers for operands. */
const tile: usize = 4;
const corner: usize = memory.data(128, 16);

/** Bytes of scratch that `gemm_f64` needs. */
export function gemm_scratch(): usize {
  return (rows + columns) * inner * 8;
}

// Packed slivers hold four rows (or columns) side by side, inner index by inner index, short ones filled up with zeros:
//
//   | a00 a10 a20 a30 | a01 a11 a21 a31 | …

/** count ≤ 4 vectors of `depth` elements, `across` elements apart; `along` is the step of the inner index. f64 ← f64. */
function packF64(out: usize, from: usize, across: usize, along: usize, count: usize, depth: usize, factor: f64): void {
  for (let r: usize = 0; r < tile; r++) {
    let to = out + (r << 3);
    const end = to + (depth << 5);
    if (r < count) {
      let p = from + ((r * across) << 3);
      const step = along << 3;
      if (factor == 1) {
        for (; to < end; to += 32, p += step) store<f64>(to, load<f64>(p));
      } else {
        for (; to < end; to += 32, p += step) store<f64>(to, factor * load<f64>(p));
      }
    } else {
      for (; to < end; to += 32) store<f64>(to, 0);
    }
  }
}

/** `packF64` of f32. */
function packF32(out: usize, from: usize, across: usize, along: usize, count: usize, depth: usize, factor: f64): void {
  for (let r: usize = 0; r < tile; r++) {
    let to = out + (r << 3);
    const end = to + (depth << 5);
    if (r < count) {
      let p = from + ((r * across) << 2);
      const step = along << 2;
      for (; to < end; to += 32, p += step) store<f64>(to, factor * <f64>load<f32>(p));
    } else {
      for (; to < end; to += 32) store<f64>(to, 0);
    }
  }
}

/** The same for f64 vectors that lie side by side (across 1): four at a time. */
function packAcross(out: usize, from: usize, along: usize, depth: usize): void {
  const end = out + (depth << 5);
  const step = along << 3;
  for (; out < end; out += 32, from += step) {
    v128.store(out, v128.load(from));
    v128.store(out, v128.load(from, 16), 16);
  }
}

function pack(
  out: usize,
  from: usize,
  narrow: i32,
  across: usize,
  along: usize,
  count: usize,
  depth: usize,
  factor: f64,
): void {
  if (narrow) packF32(out, from, across, along, count, depth, factor);
  else if (across == 1 && count == tile && factor == 1) packAcross(out, from, along, depth);
  else packF64(out, from, across, along, count, depth, factor);
}

/** c (4×4 of row stride `stride` bytes) ← c + a·b for packed slivers. */
@inline
function multiplyTile(c: usize, stride: usize, a: usize, b: usize, depth: usize): void {
  let c00 = f64x2.splat(0);
  let c01 = f64x2.splat(0);
  let c10 = f64x2.splat(0);
  let c11 = f64x2.splat(0);
  let c20 = f64x2.splat(0);
  let c21 = f64x2.splat(0);
  let c30 = f64x2.splat(0);
  let c31 = f64x2.splat(0);
  const end = a + (depth << 5);
  for (; a < end; a += 32, b += 32) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const a0 = v128.load64_splat(a);
    c00 = f64x2.add(c00, f64x2.mul(a0, b0));
    c01 = f64x2.add(c01, f64x2.mul(a0, b1));
    const a1 = v128.load64_splat(a, 8);
    c10 = f64x2.add(c10, f64x2.mul(a1, b0));
    c11 = f64x2.add(c11, f64x2.mul(a1, b1));
    const a2 = v128.load64_splat(a, 16);
    c20 = f64x2.add(c20, f64x2.mul(a2, b0));
    c21 = f64x2.add(c21, f64x2.mul(a2, b1));
    const a3 = v128.load64_splat(a, 24);
    c30 = f64x2.add(c30, f64x2.mul(a3, b0));
    c31 = f64x2.add(c31, f64x2.mul(a3, b1));
  }
  v128.store(c, f64x2.add(v128.load(c), c00));
  v128.store(c, f64x2.add(v128.load(c, 16), c01), 16);
  c += stride;
  v128.store(c, f64x2.add(v128.load(c), c10));
  v128.store(c, f64x2.add(v128.load(c, 16), c11), 16);
  c += stride;
  v128.store(c, f64x2.add(v128.load(c), c20));
  v128.store(c, f64x2.add(v128.load(c, 16), c21), 16);
  c += stride;
  v128.store(c, f64x2.add(v128.load(c), c30));
  v128.store(c, f64x2.add(v128.load(c, 16), c31), 16);
}

/** A tile at the edge, of which `m` × `n` elements exist: through the corner, so that it is the same arithmetic. */
function multiplyEdge(c: usize, stride: usize, a: usize, b: usize, depth: usize, m: usize, n: usize): void {
  for (let i: usize = 0; i < m; i++)
    for (let j: usize = 0; j < n; j++) store<f64>(corner + (i << 5) + (j << 3), load<f64>(c + i * stride + (j << 3)));
  multiplyTile(corner, 32, a, b, depth);
  for (let i: usize = 0; i < m; i++)
    for (let j: usize = 0; j < n; j++) store<f64>(c + i * stride + (j << 3), load<f64>(corner + (i << 5) + (j << 3)));
}

export function gemm_f64(
  c: usize,
  cRow: usize,
  a: usize,
  aNarrow: i32,
  aRow: usize,
  aColumn: usize,
  b: usize,
  bNarrow: i32,
  bRow: usize,
  bColumn: usize,
  m: usize,
  n: usize,
  depth: usize,
  factor: f64,
  scratch: usize,
): void {
  const aPack = scratch;
  const bPack = scratch + rows * inner * 8;
  const aShift: usize = aNarrow ? 2 : 3;
  const bShift: usize = bNarrow ? 2 : 3;
  const stride = cRow << 3;
  for (let j: usize = 0; j < n; j += columns) {
    const width = min(columns, n - j);
    for (let k: usize = 0; k < depth; k += inner) {
      const part = min(inner, depth - k);
      const sliver = part << 5;
      for (let q: usize = 0; q < width; q += tile) {
        const from = b + ((k * bRow + (j + q) * bColumn) << bShift);
        pack(bPack + (q >> 2) * sliver, from, bNarrow, bColumn, bRow, min(tile, width - q), part, 1);
      }
      for (let i: usize = 0; i < m; i += rows) {
        const height = min(rows, m - i);
        for (let p: usize = 0; p < height; p += tile) {
          const from = a + (((i + p) * aRow + k * aColumn) << aShift);
          pack(aPack + (p >> 2) * sliver, from, aNarrow, aRow, aColumn, min(tile, height - p), part, factor);
        }
        for (let q: usize = 0; q < width; q += tile) {
          const bSliver = bPack + (q >> 2) * sliver;
          const across = min(tile, width - q);
          for (let p: usize = 0; p < height; p += tile) {
            const to = c + (i + p) * stride + ((j + q) << 3);
            const aSliver = aPack + (p >> 2) * sliver;
            if (across == tile && p + tile <= height) multiplyTile(to, stride, aSliver, bSliver, part);
            else multiplyEdge(to, stride, aSliver, bSliver, part, min(tile, height - p), across);
          }
        }
      }
    }
  }
}

/** Lanes 0 and 1 sum even and odd indices; the odd one at the end goes to lane 0. */
export function dot_f64(a: usize, b: usize, count: usize): f64 {
  let s = f64x2.splat(0);
  const end = a + ((count >> 1) << 4);
  for (; a < end; a += 16, b += 16) s = f64x2.add(s, f64x2.mul(v128.load(a), v128.load(b)));
  let even = f64x2.extract_lane(s, 0);
  if (count & 1) even += load<f64>(a) * load<f64>(b);
  return even + f64x2.extract_lane(s, 1);
}

export function axpy_f64(acc: usize, x: usize, factor: f64, count: usize): void {
  const f = f64x2.splat(factor);
  const end = x + ((count >> 1) << 4);
  for (; x < end; x += 16, acc += 16) v128.store(acc, f64x2.add(v128.load(acc), f64x2.mul(f, v128.load(x))));
  if (count & 1) store<f64>(acc, load<f64>(acc) + factor * load<f64>(x));
}

export function scale_f64(x: usize, factor: f64, count: usize): void {
  const f = f64x2.splat(factor);
  const end = x + ((count >> 1) << 4);
  for (; x < end; x += 16) v128.store(x, f64x2.mul(f, v128.load(x)));
  if (count & 1) store<f64>(x, factor * load<f64>(x));
}

/** (x, y) ← (c·x + s·y, c·y − s·x). */
export function rotate_f64(x: usize, y: usize, c: f64, s: f64, count: usize): void {
  const cc = f64x2.splat(c);
  const ss = f64x2.splat(s);
  const end = x + ((count >> 1) << 4);
  for (; x < end; x += 16, y += 16) {
    const u = v128.load(x);
    const v = v128.load(y);
    v128.store(x, f64x2.add(f64x2.mul(cc, u), f64x2.mul(ss, v)));
    v128.store(y, f64x2.sub(f64x2.mul(cc, v), f64x2.mul(ss, u)));
  }
  if (count & 1) {
    const u = load<f64>(x);
    const v = load<f64>(y);
    store<f64>(x, c * u + s * v);
    store<f64>(y, c * v - s * u);
  }
}

/**
 * y ← y + A·x for the symmetric A whose lower triangle is at `a`. Four rows at a time: what they hold left of their own
 * square is read once and serves both triangles.
 */
export function symv_f64(y: usize, a: usize, stride: usize, x: usize, n: usize): void {
  const row = stride << 3;
  let i: usize = 0;
  for (; i + 4 <= n; i += 4) {
    let p0 = a + i * row;
    let p1 = p0 + row;
    let p2 = p1 + row;
    let p3 = p2 + row;
    const xi = x + (i << 3);
    const yi = y + (i << 3);
    const x0 = v128.load64_splat(xi);
    const x1 = v128.load64_splat(xi, 8);
    const x2 = v128.load64_splat(xi, 16);
    const x3 = v128.load64_splat(xi, 24);
    let s0 = f64x2.splat(0);
    let s1 = f64x2.splat(0);
    let s2 = f64x2.splat(0);
    let s3 = f64x2.splat(0);
    let xj = x;
    let yj = y;
    for (; xj < xi; xj += 16, yj += 16, p0 += 16, p1 += 16, p2 += 16, p3 += 16) {
      const u = v128.load(xj);
      const a0 = v128.load(p0);
      const a1 = v128.load(p1);
      const a2 = v128.load(p2);
      const a3 = v128.load(p3);
      s0 = f64x2.add(s0, f64x2.mul(a0, u));
      s1 = f64x2.add(s1, f64x2.mul(a1, u));
      s2 = f64x2.add(s2, f64x2.mul(a2, u));
      s3 = f64x2.add(s3, f64x2.mul(a3, u));
      const low = f64x2.add(f64x2.mul(a0, x0), f64x2.mul(a1, x1));
      const high = f64x2.add(f64x2.mul(a2, x2), f64x2.mul(a3, x3));
      v128.store(yj, f64x2.add(v128.load(yj), f64x2.add(low, high)));
    }
    store<f64>(yi, load<f64>(yi) + (f64x2.extract_lane(s0, 0) + f64x2.extract_lane(s0, 1)));
    store<f64>(yi, load<f64>(yi, 8) + (f64x2.extract_lane(s1, 0) + f64x2.extract_lane(s1, 1)), 8);
    store<f64>(yi, load<f64>(yi, 16) + (f64x2.extract_lane(s2, 0) + f64x2.extract_lane(s2, 1)), 16);
    store<f64>(yi, load<f64>(yi, 24) + (f64x2.extract_lane(s3, 0) + f64x2.extract_lane(s3, 1)), 24);
    symvSquare(yi, p0, row, xi, 4);
  }
  for (; i < n; i++) {
    const at = a + i * row;
    const xi = load<f64>(x + (i << 3));
    let sum: f64 = 0;
    for (let j: usize = 0; j < i; j++) {
      const v = load<f64>(at + (j << 3));
      sum += v * load<f64>(x + (j << 3));
      const to = y + (j << 3);
      store<f64>(to, load<f64>(to) + v * xi);
    }
    const to = y + (i << 3);
    store<f64>(to, load<f64>(to) + (sum + load<f64>(at + (i << 3)) * xi));
  }
}

/** The square on the diagonal, by its lower triangle. */
function symvSquare(y: usize, a: usize, row: usize, x: usize, n: usize): void {
  for (let i: usize = 0; i < n; i++) {
    const at = a + i * row;
    for (let j: usize = 0; j < n; j++) {
      const v = j <= i ? load<f64>(at + (j << 3)) : load<f64>(a + j * row + (i << 3));
      const to = y + (i << 3);
      store<f64>(to, load<f64>(to) + v * load<f64>(x + (j << 3)));
    }
  }
}

/** out[j][i] ← in[i][j] for f32, in squares of 16 that stay in L1. */
export function transpose_f32(out: usize, outRow: usize, input: usize, inRow: usize, m: usize, n: usize): void {
  for (let i: usize = 0; i < m; i += 16) {
    const iEnd = min(i + 16, m);
    for (let j: usize = 0; j < n; j += 16) {
      const jEnd = min(j + 16, n);
      for (let q = j; q < jEnd; q++)
        for (let p = i; p < iEnd; p++)
          store<f32>(out + ((q * outRow + p) << 2), load<f32>(input + ((p * inRow + q) << 2)));
    }
  }
}

/** out f32 ← x f64, nearest even. */
export function narrow_f64(out: usize, x: usize, count: usize): void {
  for (let i: usize = 0; i < count; i++) store<f32>(out + (i << 2), <f32>load<f64>(x + (i << 3)));
}

/** acc f64 ← acc + factor·x for x in f32. */
export function axpy_f64_f32(acc: usize, x: usize, factor: f64, count: usize): void {
  for (let i: usize = 0; i < count; i++)
    store<f64>(acc + (i << 3), load<f64>(acc + (i << 3)) + factor * <f64>load<f32>(x + (i << 2)));
}

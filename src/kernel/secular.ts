// The eigenvalues of a diagonal matrix plus one of rank 1, D + ρ·z·zᵀ: the roots of 1 + ρ Σ z_i² / (d_i − λ) (Golub 1973).
// Each root lies between two poles. It is told as its distance from the nearer one, which keeps every difference d_i − λ to the
// last digit; eigenvectors that are made of those are orthogonal to working precision (Gu & Eisenstat 1994).

/** λ_j = d[origin[j]] + offset[j], in the order of d. */
export interface Roots {
  readonly origin: Int32Array;
  readonly offset: Float64Array;
}

const epsilon = 2 ** -52;
/** Bisection alone would need about 1,100 steps for the smallest of offsets; with interpolation 5 to 8 are usual. */
const maxSteps = 1200;

/** `d` ascending and distinct, no z_i zero, Σ z² = 1, ρ > 0. */
export function secularRoots(d: Float64Array, z: Float64Array, rho: number): Roots {
  const n = d.length;
  const origin = new Int32Array(n);
  const offset = new Float64Array(n);
  const weights = z.map((x) => rho * x * x);
  for (let j = 0; j < n; j++) {
    const root = j < n - 1 ? between(d, weights, j) : beyond(d, weights, rho);
    origin[j] = root.origin;
    offset[j] = root.offset;
  }
  return { origin, offset };
}

/** The root between poles j and j + 1. */
function between(d: Float64Array, weights: Float64Array, j: number): { origin: number; offset: number } {
  const gap = d[j + 1]! - d[j]!;
  // The sign of the function half way tells the nearer pole.
  let rest = 1;
  for (let i = 0; i < d.length; i++) {
    if (i !== j && i !== j + 1) rest += weights[i]! / (d[i]! - d[j]! - gap / 2);
  }
  const middle = rest + (weights[j]! - weights[j + 1]!) / (-gap / 2);
  const [wj, wk] = [weights[j]!, weights[j + 1]!];
  if (middle >= 0) {
    const a = rest * gap + wj + wk;
    const root = Math.sqrt(Math.abs(a * a - 4 * wj * gap * rest));
    const start = a > 0 ? (2 * wj * gap) / (a + root) : (a - root) / (2 * rest);
    return { origin: j, offset: refine(d, weights, j, j, 0, gap / 2, start) };
  }
  const a = rest * gap - wj - wk;
  const root = Math.sqrt(Math.abs(a * a + 4 * wk * gap * rest));
  const start = a < 0 ? (2 * wk * gap) / (a - root) : -(a + root) / (2 * rest);
  return { origin: j + 1, offset: refine(d, weights, j, j + 1, -gap / 2, 0, start) };
}

/** The root beyond the last pole: at most ρ away. */
function beyond(d: Float64Array, weights: Float64Array, rho: number): { origin: number; offset: number } {
  const last = d.length - 1;
  if (last === 0) return { origin: 0, offset: weights[0]! };
  return { origin: last, offset: refine(d, weights, last - 1, last, 0, rho * (1 + 4 * epsilon), weights[last]!) };
}

/**
 * Finds the root in (low, high), offsets from pole `origin`. Steps by the "middle way" (Li 1993): a function of the two poles
 * that has the values and slopes of both halves of the sum; where a step leaves the bracket, or brackets shrink slowly, it halves.
 */
function refine(
  d: Float64Array,
  weights: Float64Array,
  j: number,
  origin: number,
  low: number,
  high: number,
  start: number,
): number {
  const n = d.length;
  const from = d[origin]!;
  let x = start > low && start < high ? start : (low + high) / 2;
  let width = high - low;
  for (let step = 0; step < maxSteps; step++) {
    let psi = 0;
    let psiSlope = 0;
    let phi = 0;
    let phiSlope = 0;
    for (let i = 0; i <= j; i++) {
      const q = 1 / (d[i]! - from - x);
      const t = weights[i]! * q;
      psi += t;
      psiSlope += t * q;
    }
    for (let i = j + 1; i < n; i++) {
      const q = 1 / (d[i]! - from - x);
      const t = weights[i]! * q;
      phi += t;
      phiSlope += t * q;
    }
    const f = 1 + psi + phi;
    const slope = psiSlope + phiSlope;
    const error = epsilon * (8 * (Math.abs(psi) + Math.abs(phi) + 1) + Math.abs(x) * slope);
    if (Math.abs(f) <= error) return x;
    if (f < 0) low = x;
    else high = x;
    const p = d[j]! - from - x;
    const q = d[j + 1]! - from - x;
    const a = (p + q) * f - p * q * slope;
    const b = p * q * f;
    const c = f - p * psiSlope - q * phiSlope;
    const root = Math.sqrt(Math.abs(a * a - 4 * b * c));
    let move = c === 0 ? b / a : a <= 0 ? (a - root) / (2 * c) : (2 * b) / (a + root);
    // The function rises, so the root lies against its sign; Newton's step at least does.
    if (!(move * f < 0)) move = -f / slope;
    let next = x + move;
    const slow = step % 4 === 3 && high - low > width / 4;
    if (step % 4 === 3) width = high - low;
    if (!(next > low && next < high) || slow) next = (low + high) / 2;
    if (next === x || next <= low || next >= high) return x;
    x = next;
  }
  return x;
}

/**
 * The z for which the computed roots are exact: |ẑ_i|² = Π_j (λ_j − d_i) / Π_{j≠i} (d_j − d_i), over ρ, with the signs of z
 * (Gu & Eisenstat 1994, after Löwner). ρ is left out: vectors are normalised anyway.
 */
export function exactWeights(d: Float64Array, z: Float64Array, roots: Roots): Float64Array {
  const n = d.length;
  const squares = new Float64Array(n).fill(1);
  for (let j = 0; j < n; j++) {
    const from = d[roots.origin[j]!]!;
    const offset = roots.offset[j]!;
    for (let i = 0; i < n; i++) {
      const away = d[i]! - from - offset;
      squares[i]! *= i === j ? -away : away / (d[i]! - d[j]!);
    }
  }
  return squares.map((s, i) => (z[i]! < 0 ? -Math.sqrt(Math.abs(s)) : Math.sqrt(Math.abs(s))));
}

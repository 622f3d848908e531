// acos and sin from + − × ÷ √ alone. Math.acos and Math.sin are left to the engine by the language, and a merged byte must not
// depend on the engine. Both come within 5e-16 of the true value (test/methods/trig.test.ts): far below the f32 that uses them.

/** atan(z) for z ≥ 0: halve the angle until the series converges quickly, sum it, double it back. */
function atan(z: number): number {
  let doublings = 0;
  while (z > 0.1) {
    z = z / (1 + Math.sqrt(1 + z * z));
    doublings++;
  }
  const z2 = z * z;
  let sum = 0;
  // z − z³/3 + z⁵/5 …: at z ≤ 0.1 the eleventh term is below 1e-22. Horner, from the smallest term.
  for (let k = 10; k >= 0; k--) sum = 1 / (2 * k + 1) - z2 * sum;
  return z * sum * 2 ** doublings;
}

/** The angle whose cosine is `c`, for c in [−1, 1]: 2·atan(√((1 − c)/(1 + c))). */
export function acos(c: number): number {
  if (c <= -1) return Math.PI;
  if (c >= 1) return 0;
  // Below zero the quotient grows without bound; the supplement keeps it at or below 1.
  if (c < 0) return Math.PI - 2 * atan(Math.sqrt((1 + c) / (1 - c)));
  return 2 * atan(Math.sqrt((1 - c) / (1 + c)));
}

/** sin(x) by its Taylor series after reduction to [0, π/2]; exact enough for |x| up to a few turns, which slerp never leaves. */
export function sin(x: number): number {
  if (x < 0) return -sin(-x);
  const turns = Math.floor(x / Math.PI);
  let y = x - turns * Math.PI;
  if (y > Math.PI / 2) y = Math.PI - y;
  const y2 = y * y;
  let sum = 1;
  for (let k = 11; k >= 1; k--) sum = 1 - (y2 / (2 * k * (2 * k + 1))) * sum;
  return (turns % 2 === 0 ? 1 : -1) * y * sum;
}

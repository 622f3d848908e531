// Cosine and sine of a fraction of a turn, from + − × ÷ alone: Math.cos and Math.sin are left to the engine by the language.

/** cos and sin of 2π·j/n, each within 1.2e-16 of the true value: j is brought into the first eighth of a turn by whole numbers. */
export function turn(j: number, n: number): { readonly cos: number; readonly sin: number } {
  const eighths = 8 * (((j % n) + n) % n);
  const octant = Math.floor(eighths / n);
  const rest = eighths - octant * n;
  // In odd octants the angle is measured back from the next axis or diagonal.
  const x = (Math.PI / 4) * ((octant % 2 === 0 ? rest : n - rest) / n);
  const [c, s] = [cosine(x), sine(x)];
  switch (octant) {
    case 0:
      return { cos: c, sin: s };
    case 1:
      return { cos: s, sin: c };
    case 2:
      return { cos: -s, sin: c };
    case 3:
      return { cos: -c, sin: s };
    case 4:
      return { cos: -c, sin: -s };
    case 5:
      return { cos: -s, sin: -c };
    case 6:
      return { cos: s, sin: -c };
    default:
      return { cos: c, sin: -s };
  }
}

/** Taylor series on [0, π/4]: the first term left out is below 1e-19. */
function sine(x: number): number {
  const x2 = x * x;
  let sum = 1;
  for (let k = 8; k >= 1; k--) sum = 1 - (x2 / (2 * k * (2 * k + 1))) * sum;
  return x * sum;
}

function cosine(x: number): number {
  const x2 = x * x;
  let sum = 1;
  for (let k = 8; k >= 1; k--) sum = 1 - (x2 / (2 * k * (2 * k - 1))) * sum;
  return sum;
}

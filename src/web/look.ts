// What can be seen of one tensor of a merge: survivors, the election, distributions, and how models get in each other's way. Counts and
// pictures only: nothing here becomes part of a model.

export interface Matrix {
  readonly rows: number;
  readonly columns: number;
}

/** Of one fine-tune: what changed, and what is left of it. Both in the scale that the merge adds up. */
export interface Change {
  readonly model: string;
  readonly delta: Float32Array;
  readonly kept: Float32Array;
}

/** What a pixel of a mask says. */
export const maskCodes = { unchanged: 0, dropped: 1, positive: 2, negative: 3 } as const;
/** What a pixel of the election says. `won`: the models disagreed. */
export const electionCodes = {
  nothing: 0,
  positive: 1,
  negative: 2,
  wonPositive: 3,
  wonNegative: 4,
  cancelled: 5,
} as const;

/** The corner of a matrix that is drawn: as much as a card shows with an element still to be seen. */
const windowRows = 128;
const windowColumns = 256;

export interface Picture extends Matrix {
  readonly codes: Uint8Array<ArrayBuffer>;
}

function corner({ rows, columns }: Matrix, code: (at: number) => number): Picture {
  const height = Math.min(rows, windowRows);
  const width = Math.min(columns, windowColumns);
  const codes = new Uint8Array(height * width);
  for (let r = 0; r < height; r++) for (let c = 0; c < width; c++) codes[r * width + c] = code(r * columns + c);
  return { rows: height, columns: width, codes };
}

export function maskPicture({ delta, kept }: Change, matrix: Matrix): Picture {
  const { unchanged, dropped, positive, negative } = maskCodes;
  return corner(matrix, (i) => {
    if (kept[i]! > 0) return positive;
    if (kept[i]! < 0) return negative;
    return delta[i] === 0 ? unchanged : dropped;
  });
}

/** Who is heard at an element: signs of what is left, and of what was merged. */
function electionAt(changes: readonly Change[], weights: readonly number[], merged: Float32Array, i: number): number {
  let above = 0;
  let below = 0;
  for (const [m, { kept }] of changes.entries()) {
    const voice = kept[i]! * Math.sign(weights[m]!);
    if (voice > 0) above++;
    else if (voice < 0) below++;
  }
  const c = electionCodes;
  if (above + below === 0) return c.nothing;
  const value = merged[i]!;
  if (value === 0) return c.cancelled;
  const contested = above > 0 && below > 0;
  return value > 0 ? (contested ? c.wonPositive : c.positive) : contested ? c.wonNegative : c.negative;
}

export function electionPicture(
  changes: readonly Change[],
  weights: readonly number[],
  merged: Float32Array,
  matrix: Matrix,
): Picture {
  return corner(matrix, (i) => electionAt(changes, weights, merged, i));
}

export interface ElectionCounts {
  /** Elements that nothing is left of. */
  readonly silent: number;
  /** One model alone. */
  readonly alone: number;
  /** Several that agree. */
  readonly agreed: number;
  /** Several that do not. */
  readonly contested: number;
}

export function countElection(changes: readonly Change[], weights: readonly number[]): ElectionCounts {
  const count = changes[0]?.kept.length ?? 0;
  let [silent, alone, agreed, contested] = [0, 0, 0, 0];
  for (let i = 0; i < count; i++) {
    let above = 0;
    let below = 0;
    for (const [m, { kept }] of changes.entries()) {
      const voice = kept[i]! * Math.sign(weights[m]!);
      if (voice > 0) above++;
      else if (voice < 0) below++;
    }
    if (above + below === 0) silent++;
    else if (above + below === 1) alone++;
    else if (above > 0 && below > 0) contested++;
    else agreed++;
  }
  return { silent, alone, agreed, contested };
}

export interface Distribution {
  readonly edges: readonly number[];
  /** Of the changes, and of what is left of them; zeros are in neither. */
  readonly before: readonly number[];
  readonly after: readonly number[];
}

const bins = 41;

/** Counts of magnitudes with sign over bins that are symmetric about zero, out to the 99.5th percentile of what is left. */
export function distribution({ delta, kept }: Change): Distribution {
  const reach = Math.max(quantile(delta, 0.995), quantile(kept, 0.995)) || 1e-8;
  const edges = Array.from({ length: bins + 1 }, (_, i) => -reach + (2 * reach * i) / bins);
  const count = (values: Float32Array): number[] => {
    const counts = new Array<number>(bins).fill(0);
    for (const x of values) {
      if (x === 0 || !(Math.abs(x) <= reach)) continue;
      const bin = Math.min(bins - 1, Math.floor(((x + reach) / (2 * reach)) * bins));
      counts[bin] = counts[bin]! + 1;
    }
    return counts;
  };
  return { edges, before: count(delta), after: count(kept) };
}

/** Of the magnitudes that are not zero. */
function quantile(values: Float32Array, share: number): number {
  const some = Float32Array.from(
    values.filter((x) => x !== 0 && Number.isFinite(x)),
    Math.abs,
  ).sort();
  return some[Math.min(some.length - 1, Math.floor(some.length * share))] ?? 0;
}

/** Norms and cosines, in f64. Rows and columns are the models. */
export function cosines(changes: readonly Float32Array[]): number[][] {
  const norms = changes.map((x) => Math.sqrt(dot(x, x)));
  return changes.map((x, i) =>
    changes.map((y, j) => (i === j ? 1 : norms[i]! * norms[j]! === 0 ? 0 : dot(x, y) / (norms[i]! * norms[j]!))),
  );
}

export function dot(x: Float32Array, y: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!;
  return sum;
}

/** The share of elements that both have and that have opposite signs. */
export function conflicts(changes: readonly Float32Array[]): number[][] {
  return changes.map((x, i) =>
    changes.map((y, j) => {
      if (i === j) return 0;
      let both = 0;
      let opposite = 0;
      for (let k = 0; k < x.length; k++) {
        const sign = Math.sign(x[k]!) * Math.sign(y[k]!);
        if (sign !== 0) both++;
        if (sign < 0) opposite++;
      }
      return both === 0 ? 0 : opposite / both;
    }),
  );
}

export interface ChangeFacts {
  readonly model: string;
  /** Of all elements. */
  readonly changed: number;
  readonly left: number;
  /** Mean |δ| before, of what changed. */
  readonly meanBefore: number;
  /** ‖left‖ / ‖δ‖: 1/√(1 − p) is what a rescaled random drop makes of it. */
  readonly normRatio: number;
}

export function changeFacts({ model, delta, kept }: Change): ChangeFacts {
  let [changed, left, sum] = [0, 0, 0];
  for (let i = 0; i < delta.length; i++) {
    if (delta[i] !== 0) changed++;
    if (kept[i] !== 0) left++;
    sum += Math.abs(delta[i]!);
  }
  const norm = Math.sqrt(dot(delta, delta));
  return {
    model,
    changed: changed / delta.length,
    left: left / delta.length,
    meanBefore: changed === 0 ? 0 : sum / changed,
    normRatio: norm === 0 ? 0 : Math.sqrt(dot(kept, kept)) / norm,
  };
}

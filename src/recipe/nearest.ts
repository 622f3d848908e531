// "Did you mean": the known name that is closest to a misspelt one.

/** Edits (insert, delete, replace, swap neighbours) from a to b, or `limit + 1` when there are more than `limit`. */
export function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) > limit) return limit + 1;
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min(above[j]! + 1, row[j - 1]! + 1, above[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, before[j - 2]! + 1);
      row.push(best);
    }
    before = above;
    above = row;
  }
  return Math.min(above[b.length]!, limit + 1);
}

/** The nearest of `names`, if near enough to be a slip: one edit for short names, two for longer ones, any case and separator. */
export function nearest(name: string, names: Iterable<string>): string | undefined {
  const flat = (s: string): string => s.toLowerCase().replace(/[-_ ]/g, "");
  const wanted = flat(name);
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of names) {
    const target = flat(candidate);
    const shorter = Math.min(wanted.length, target.length);
    const limit = shorter <= 2 ? 0 : shorter <= 5 ? 1 : 2;
    const distance = editDistance(wanted, target, limit);
    if (distance <= limit && distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Names that contain `name` or begin like it, for methods: `dare` may be dare_linear or dare_ties. */
export function similar(name: string, names: Iterable<string>): string[] {
  const lower = name.toLowerCase().replace(/[- ]/g, "_");
  const all = [...names];
  const related =
    lower.length >= 3 ? all.filter((n) => n.split("_").includes(lower) || n.includes(lower) || lower.includes(n)) : [];
  const near = nearest(name, all);
  return [...new Set(near ? [near, ...related] : related)];
}

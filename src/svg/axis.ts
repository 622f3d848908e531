// What a chart may say of an axis, and the scale that comes of it and the data.

import { formatNumber } from "./numbers.ts";
import { linearScale, logScale, type Scale } from "./scale.ts";

export interface Axis {
  readonly label?: string;
  /** `even` gives each of the x values that there are the same room, whatever lies between. */
  readonly kind?: "linear" | "log" | "even";
  /** Both or either end; what is left out comes from the data. */
  readonly from?: number;
  readonly to?: number;
  readonly ticks?: readonly number[];
  readonly format?: (value: number) => string;
}

/** Each of `values` at the same distance from its neighbours; between them straight. */
function evenScale(values: readonly number[], from: number, to: number, format: (value: number) => string): Scale {
  const known = [...new Set(values)].sort((a, b) => a - b);
  const step = (to - from) / Math.max(known.length, 1);
  const place = (i: number) => from + (i + 0.5) * step;
  return {
    domain: [known[0] ?? 0, known.at(-1) ?? 1],
    ticks: known,
    format,
    at: (value) => {
      const next = known.findIndex((k) => k >= value);
      if (next < 0) return place(Math.max(known.length - 1, 0));
      if (next === 0 || known[next] === value) return place(next);
      const before = known[next - 1]!;
      return place(next - 1) + ((value - before) / (known[next]! - before)) * step;
    },
  };
}

export function axisScale(
  axis: Axis | undefined,
  values: readonly number[],
  from: number,
  to: number,
  nice: boolean,
  count: number,
): Scale {
  const finite = values.filter(Number.isFinite);
  const usable = axis?.kind === "log" ? finite.filter((v) => v > 0) : finite;
  const low = axis?.from ?? usable.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const high = axis?.to ?? usable.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const { ticks, format } = axis ?? {};
  const options = { count, nice, ...(ticks ? { ticks } : {}), ...(format ? { format } : {}) };
  if (axis?.kind === "even") return evenScale(finite, from, to, format ?? ((v) => formatNumber(v)));
  return axis?.kind === "log" ? logScale(low, high, from, to, options) : linearScale(low, high, from, to, options);
}

// From values to coordinates, with the ticks between.

import { decimalExponent, formatNumber, formatTick, powerOfTen } from "./numbers.ts";

export interface Scale {
  readonly domain: readonly [number, number];
  /** Position of a value; outside of the domain it is at the nearer end. */
  at(value: number): number;
  readonly ticks: readonly number[];
  format(tick: number): string;
}

/** The step of 1, 2 or 5 times a power of ten that divides `span` into at most `count` parts. */
export function niceStep(span: number, count: number): number {
  const raw = span / Math.max(count, 1);
  const unit = powerOfTen(decimalExponent(raw));
  const factor = [1, 2, 5, 10].find((f) => f * unit >= raw * (1 - 1e-9)) ?? 10;
  return factor * unit;
}

/** A domain that holds something: one value becomes a span around it, none becomes 0 to 1. */
function usable(low: number, high: number): [number, number] {
  if (!Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  if (low < high) return [low, high];
  return low === 0 ? [0, 1] : low > 0 ? [0, 2 * low] : [2 * low, 0];
}

export interface ScaleOptions {
  /** About so many ticks at most. */
  readonly count?: number;
  /** Widen the domain to whole steps. */
  readonly nice?: boolean;
  readonly ticks?: readonly number[];
  readonly format?: (tick: number) => string;
}

/** `from` and `to` are coordinates; `to` may be the smaller one (an upright axis). */
export function linearScale(
  low: number,
  high: number,
  from: number,
  to: number,
  { count = 6, nice = false, ticks, format }: ScaleOptions = {},
): Scale {
  let [start, end] = usable(low, high);
  const step = niceStep(end - start, count);
  if (nice) {
    start = Math.floor(start / step + 1e-9) * step;
    end = Math.ceil(end / step - 1e-9) * step;
  }
  const first = Math.ceil(start / step - 1e-9);
  const last = Math.floor(end / step + 1e-9);
  const own = Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * step);
  return {
    domain: [start, end],
    at: (value) => from + ((Math.min(Math.max(value, start), end) - start) / (end - start)) * (to - from),
    ticks: ticks ?? own,
    format: format ?? (ticks ? (tick) => formatNumber(tick) : (tick) => formatTick(tick, step)),
  };
}

/** Both ends above zero. Ticks are powers of ten, thinned to about `count`. */
export function logScale(
  low: number,
  high: number,
  from: number,
  to: number,
  { count = 6, nice = false, ticks, format }: ScaleOptions = {},
): Scale {
  let [start, end] = low > 0 && high > low ? [low, high] : low > 0 ? [low / 10, low * 10] : [0.1, 1];
  if (nice) {
    start = powerOfTen(decimalExponent(start));
    const top = powerOfTen(decimalExponent(end));
    end = top < end ? powerOfTen(decimalExponent(end) + 1) : top;
  }
  const [first, last] = [decimalExponent(start), decimalExponent(end)];
  const step = Math.max(1, Math.ceil((last - first) / Math.max(count, 1)));
  const own: number[] = [];
  for (let e = first; e <= last; e += step) if (powerOfTen(e) >= start) own.push(powerOfTen(e));
  // Two decimals of a coordinate are all that is kept, so that the last bit of an engine's logarithm does not show.
  const whole = Math.log(end / start);
  return {
    domain: [start, end],
    at: (value) => from + (Math.log(Math.min(Math.max(value, start), end) / start) / whole) * (to - from),
    ticks: ticks ?? own,
    format: format ?? ((tick) => formatNumber(tick)),
  };
}

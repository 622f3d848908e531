// Numbers on axes and in cells. Nothing here asks the machine for its language.

/** 10 to a whole power, exactly as the decimal literal: Math.pow is the engine's choice. */
export function powerOfTen(exponent: number): number {
  return Number(`1e${exponent}`);
}

/** ⌊log10 |x|⌋ by way of the shortest decimal notation, which every engine writes alike. */
export function decimalExponent(x: number): number {
  return Number(Math.abs(x).toExponential().split("e")[1]);
}

/** Shortest of `digits` significant digits; exponents only where a plain number would be long. "–" for null and NaN. */
export function formatNumber(x: number | null, digits = 4): string {
  if (x === null || Number.isNaN(x)) return "–";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  const rounded = Number(x.toPrecision(digits));
  const text = rounded === 0 ? "0" : String(rounded);
  const size = Math.abs(rounded);
  const short =
    rounded !== 0 && (size < 1e-4 || size >= 1e7) ? rounded.toExponential().replace("e+", "e") : grouped(text);
  return short.replace("-", "−").replace("e-", "e−");
}

/** Thousands by commas, of the whole part. */
function grouped(text: string): string {
  const [whole = "", part] = text.split(".");
  const commas = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return part === undefined ? commas : `${commas}.${part}`;
}

/** A number of an axis whose ticks are `step` apart: all with the same decimals. */
export function formatTick(x: number, step: number): string {
  const size = Math.max(Math.abs(x), step);
  if (size >= 1e7 || step < 1e-5) return formatNumber(Number(x.toPrecision(12)));
  const decimals = Math.max(0, -decimalExponent(step));
  const text = x.toFixed(decimals);
  return grouped(Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
}

/** 0.8997 → "90 %", with so many digits. */
export function formatPercent(x: number | null, digits = 3): string {
  return x === null || Number.isNaN(x) ? "–" : `${formatNumber(x * 100, digits)} %`;
}

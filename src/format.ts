// Numbers, sizes, durations and tables as people read them. Pure functions; nothing here knows a terminal or a page.

/** 1234567 → "1,234,567". Not toLocaleString: the answer must not depend on the machine. */
export function formatCount(n: number): string {
  return String(n).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** "1 tensor", "39 tensors", "2 matrices". */
export function plural(n: number, noun: string, many = `${noun}s`): string {
  return `${formatCount(n)} ${n === 1 ? noun : many}`;
}

function scaled(n: number, step: number, units: readonly string[]): string {
  let unit = 0;
  while (n >= step && unit < units.length - 1) {
    n /= step;
    unit++;
  }
  // 999.96 would print as "1000.0": go up one unit instead.
  if (unit > 0 && unit < units.length - 1 && Number(n.toPrecision(3)) >= step) {
    n /= step;
    unit++;
  }
  return `${unit === 0 ? n : n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2)} ${units[unit]}`;
}

/** File sizes, powers of ten as disks and download pages count: "1.53 MB". */
export function formatBytes(n: number): string {
  return scaled(n, 1000, ["B", "kB", "MB", "GB", "TB", "PB"]);
}

/** Memory, powers of two: "256 MiB". */
export function formatMemory(n: number): string {
  return scaled(n, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
}

/** Parameters as model names count them: "763 k", "7.24 B". */
export function formatParameters(n: number): string {
  return n < 1000 ? String(n) : scaled(n, 1000, ["", "k", "M", "B", "T"]);
}

/** "0.42 s", "12.3 s", "3:07", "1:02:03". */
export function formatSeconds(s: number): string {
  if (!Number.isFinite(s) || s < 0) return "–";
  if (s < 10) return `${s.toFixed(2)} s`;
  if (s < 60) return `${s.toFixed(1)} s`;
  const whole = Math.round(s);
  const [h, m, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n: number) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(rest)}` : `${m}:${two(rest)}`;
}

/** 0.9 → "90 %", 0.89987 → "89.987 %". */
export function formatShare(x: number): string {
  return `${Number((x * 100).toFixed(3))} %`;
}

/** Shortest of four significant digits, for statistics. */
export function formatValue(x: number): string {
  if (Number.isInteger(x) && Math.abs(x) < 1e6) return String(x);
  return Number.isFinite(x) ? String(Number(x.toPrecision(6))) : String(x);
}

export function formatShape(shape: readonly number[]): string {
  return shape.length === 0 ? "scalar" : shape.join(" × ");
}

const control = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** Text that came from a file, safe to print on a terminal: control and format characters are written as \u{…}. */
export function printable(text: string): string {
  return text.replace(control, (c) => `\\u{${c.codePointAt(0)!.toString(16)}}`);
}

/** Columns padded to their widest cell; columns named in `right` are flush right. No trailing blanks. */
export function formatTable(
  rows: readonly (readonly string[])[],
  right: readonly number[] = [],
  indent = "  ",
): string {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, cell.length);
    });
  const pad = (cell: string, i: number) => (right.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!));
  return rows.map((row) => `${indent}${row.map(pad).join("  ").trimEnd()}\n`).join("");
}

/** Cuts to a width, with an ellipsis. */
export function truncate(text: string, width: number): string {
  return text.length <= width ? text : width <= 1 ? text.slice(0, Math.max(width, 0)) : `${text.slice(0, width - 1)}…`;
}

// What is told of an EMR export that was written.

import type { EmrSummary } from "../emr-export.ts";
import {
  formatBytes,
  formatCount,
  formatMemory,
  formatSeconds,
  formatShare,
  formatTable,
  plural,
  printable,
} from "./format.ts";

export function emrText(s: EmrSummary, program: string): string {
  const written = s.files.reduce((sum, f) => sum + f.byteLength, 0);
  const rows = [
    ...s.models.map(({ model, file, scale, kept }, i) => [
      i === 0 ? "models" : "",
      `scale ${Number(scale.toPrecision(5))}, ${formatShare(s.parameters > 0 ? kept / s.parameters : 0)} of the unified delta  ${printable(model)} → ${printable(file)}`,
    ]),
    ["bytes", `${formatBytes(s.bytesRead)} read, ${formatBytes(written)} written`],
    [
      "memory",
      `${s.peakMemoryBytes === null ? "unknown" : formatMemory(s.peakMemoryBytes)} at the peak, ${formatMemory(s.plannedPeakBytes)} planned`,
    ],
    ...s.files.map(({ name, byteLength, sha256 }, i) => [
      i === 0 ? "files" : "",
      `${sha256 === null ? "" : `sha256 ${sha256}  `}${printable(name)}  ${formatBytes(byteLength)}`,
    ]),
  ];
  const title = `Wrote ${plural(s.tensors, "unified tensor")} (${formatCount(s.parameters)} parameters) and masks of ${plural(s.models.length, "model")} in ${formatSeconds(s.seconds)}`;
  const [first] = s.models;
  const next = first
    ? `\nNext: ${program} apply ${shellWord(`${s.base}+${s.out}/${first.file}`)} ${shellWord(first.name)}\n`
    : "";
  return `${title}\n${formatTable(rows)}${next}`;
}

/** Quoted for a POSIX shell where it must be. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

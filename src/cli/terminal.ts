// What the CLI writes to: results on stdout, everything else on stderr. Colour only on a terminal and never with NO_COLOR;
// the progress line only on a terminal, so pipes and logs stay clean.

import { styleText } from "node:util";
import type { Diagnostic } from "../errors.ts";
import { formatSeconds, printable, truncate } from "./format.ts";

export interface Screen {
  readonly isTTY: boolean;
  readonly color: boolean;
  /** Width of a line; 80 where the terminal does not say (a bare pty answers 0). */
  columns(): number;
  write(text: string): void;
}

export interface Terminal {
  readonly out: Screen;
  readonly err: Screen;
  /** Resolves when everything written has left the process. */
  flush(): Promise<void>;
}

export type Style = Parameters<typeof styleText>[0];

export function paint(screen: Screen, style: Style, text: string): string {
  return screen.color ? styleText(style, text, { validateStream: false }) : text;
}

/** `file:line:column: error: message`, as compilers write it, so that editors can jump there. */
export function writeDiagnostic(screen: Screen, level: "error" | "warning", d: Diagnostic): void {
  const place = d.where ? `${printable(d.where.file)}:${d.where.line}:${d.where.column}: ` : "";
  const label = paint(screen, level === "error" ? ["red", "bold"] : ["yellow", "bold"], `${level}:`);
  screen.write(`${place}${label} ${d.message}\n`);
  if (d.hint) screen.write(`  ${d.hint}\n`);
}

/** Redraws at most this often: 10 Hz reads as smooth and costs nothing. */
const redrawMilliseconds = 100;
const barWidth = 20;

export interface ProgressState {
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly seconds: number;
  readonly label: string;
}

/** `[████······] 41 %  1.62 GB/s  ETA 0:12  model.layers.3.mlp.up_proj.weight`, at most `columns` − 1 wide. */
export function progressText(state: ProgressState, columns: number): string {
  const share = state.totalBytes > 0 ? Math.min(state.doneBytes / state.totalBytes, 1) : 0;
  const filled = Math.round(share * barWidth);
  const bar = `[${"█".repeat(filled)}${"·".repeat(barWidth - filled)}]`;
  const rate = state.seconds > 0 ? state.doneBytes / state.seconds : 0;
  const eta = rate > 0 ? Math.max(0, state.totalBytes - state.doneBytes) / rate : Number.NaN;
  const speed = `${(rate / 1e9).toFixed(2)} GB/s`;
  const text = `${bar} ${String(Math.floor(share * 100)).padStart(3)} %  ${speed}  ETA ${formatSeconds(eta)}  ${printable(state.label)}`;
  return truncate(text, Math.max(columns - 1, 1));
}

/** One line that redraws itself on a terminal, and nothing at all elsewhere. */
export class ProgressLine {
  readonly #screen: Screen;
  readonly #now: () => number;
  #last = Number.NEGATIVE_INFINITY;
  #visible = false;

  constructor(screen: Screen, now: () => number) {
    this.#screen = screen;
    this.#now = now;
  }

  update(state: ProgressState): void {
    if (!this.#screen.isTTY) return;
    const now = this.#now();
    const finished = state.doneBytes >= state.totalBytes;
    if (now - this.#last < redrawMilliseconds && !finished) return;
    this.#last = now;
    this.#draw(progressText(state, this.#screen.columns()));
  }

  note(text: string): void {
    if (this.#screen.isTTY) this.#draw(truncate(printable(text), Math.max(this.#screen.columns() - 1, 1)));
  }

  /** Takes the line away, so that what is written next starts on a clean one. */
  clear(): void {
    if (this.#visible) this.#screen.write("\r\u001b[K");
    this.#visible = false;
  }

  #draw(text: string): void {
    this.#screen.write(`\r${text}\u001b[K`);
    this.#visible = true;
  }
}

// The journal of a sweep: a line for each finished point, so that one that was stopped goes on where it was.

import { fail, quote } from "../errors.ts";
import { isRecord } from "../tensor/config.ts";

/** What was found at a point. */
export interface Finding {
  /** SHA-256 of plan, inputs and evaluator: what the scores depend on. */
  readonly key: string;
  readonly values: Readonly<Record<string, string>>;
  readonly scores: Readonly<Record<string, number>>;
  readonly planSha256: string;
  readonly files: readonly { readonly name: string; readonly byteLength: number; readonly sha256: string | null }[];
  readonly mergeSeconds: number;
  readonly evalSeconds: number;
}

/** Where the journal is kept. */
export interface JournalFile {
  /** All of it; empty where there is none. */
  read(): string;
  /** Resolves when the line will survive a power failure. */
  append(line: string): Promise<void>;
  /** Cuts it to so many bytes. */
  truncate(byteLength: number): void;
}

const format = "braid-sweep-1";

const isFinding = (value: unknown): value is Finding & { format: string } =>
  isRecord(value) && value.format === format && typeof value.key === "string" && isRecord(value.scores);

/**
 * The findings of a journal, by key. A last line that was cut short by a kill is taken away.
 *
 * @throws BraidError `sweep` when another line is not of a journal.
 */
export function readJournal(file: JournalFile, name: string): Map<string, Finding> {
  const text = file.read();
  const end = text.lastIndexOf("\n") + 1;
  const findings = new Map<string, Finding>();
  for (const [i, line] of text.slice(0, end).split("\n").entries()) {
    if (line === "") continue;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {}
    if (!isFinding(value)) {
      fail("sweep", `Cannot go on with ${quote(name, 4096)}: line ${i + 1} is not of a sweep`, {
        hint: "Choose another folder with --out, or move this file away.",
      });
    }
    const { format: _, ...finding } = value;
    findings.set(finding.key, finding);
  }
  if (end < text.length) file.truncate(new TextEncoder().encode(text.slice(0, end)).length);
  return findings;
}

export function journalLine(finding: Finding): string {
  return `${JSON.stringify({ format, ...finding })}\n`;
}

// The protocol between a coordinator and its nodes: what is said, in what headers, bound to what. docs/protocol.md shows it.

import { lineCount, rowPartCount } from "../kernel/lines.ts";
import type { Receipt, SurveyPart, SurveyTask, Task } from "../kernel/program.ts";
import { maxSlots, tileElements, tileOf } from "../kernel/program.ts";
import { byteWidth, floatDtypes } from "../tensor/dtype.ts";
import type { Range } from "./ranges.ts";

/** Both sides must speak the same version. */
export const protocol = "braid-node-1";
export const frameType = "application/vnd.braid.frame";

/** Headers of a request; those of an answer are `hash` and `signature`. */
export const headers = {
  protocol: "braid-protocol",
  kernel: "braid-kernel",
  job: "braid-job",
  lease: "braid-lease",
  time: "braid-time",
  nonce: "braid-nonce",
  /** SHA-256 of the body, in hex. */
  hash: "braid-sha256",
  signature: "braid-signature",
} as const;

/** What an answer that is a frame says of it; `hash`: its SHA-256. */
export const frameHeaders = (bytes: Uint8Array, hash: string): Record<string, string> => ({
  "content-type": frameType,
  "content-length": String(bytes.length),
  [headers.hash]: hash,
});

export const routes = {
  health: "/health",
  about: "/about",
  survey: "/v1/survey",
  slice: "/v1/slice",
  openapi: "/openapi.json",
} as const;

/** What a coordinator serves of its inputs lies below it; its own routes are those of inputs.ts. */
export const inputRoute = "/v1/input/";

export const routeOf = (task: Task): string => (task.kind === "survey" ? routes.survey : routes.slice);

/** Where a node reads a file of the job itself. `version` must still be that of the file: an ETag, or `size-mtimeNs`. */
export type Locator =
  | { readonly file: number; readonly url: string; readonly version: string | null }
  | { readonly file: number; readonly path: string; readonly version: string };

/** Where a node writes the slice itself. `version` says which file it must be: `size-inode`; its times change as it fills. */
export interface Target {
  readonly path: string;
  readonly version: string;
}

/** A task as it is sent. Files without a locator are inline: their ranges, one after the other. */
export interface TaskMessage {
  readonly protocol: string;
  readonly job: string;
  readonly lease: number;
  /** SHA-256 of the kernels. */
  readonly kernel: string;
  readonly task: Task;
  /** All that the task reads, by file and start, without overlaps. */
  readonly ranges: readonly Range[];
  readonly locators: readonly Locator[];
  readonly inline: Uint8Array<ArrayBuffer>;
  /** Null, or not there: the output is sent back. A node may send it back all the same. */
  readonly target?: Target | null;
}

/** What was asked, repeated in the answer, so that no answer can be taken for that of another request. */
export interface AnswerMessage {
  readonly protocol: string;
  readonly job: string;
  readonly lease: number;
  readonly kernel: string;
  readonly slice: { readonly kind: Task["kind"]; readonly first: number; readonly count: number };
  readonly receipt: Receipt;
  /** The slice of the output; empty for a survey, and for what was written to the target. */
  readonly output: Uint8Array<ArrayBuffer>;
  readonly written?: boolean;
}

export interface About {
  readonly protocol: string;
  readonly version: string;
  readonly runtime: string;
  readonly cores: number;
  readonly kernel: string;
  readonly limits: Readonly<Record<string, number>>;
  /** Folders that the node reads itself, and those of them that it writes to; hosts and coordinators that it fetches from. */
  readonly roots: readonly string[];
  readonly writeRoots?: readonly string[];
  readonly hosts: readonly string[];
  readonly origins?: readonly string[];
  /** Others help it (browser tabs): what it did may be recalled, so it is asked once more at the end. */
  readonly relays?: boolean;
}

/** Why a node refused: the body of every answer that is not 200. */
export interface Refusal {
  readonly error: { readonly kind: string; readonly message: string };
}

export const outputBytes = (task: Task): number =>
  task.kind === "survey"
    ? 0
    : task.count * (task.program.op === "copy" ? task.program.byteWidth : byteWidth(task.program.out));

const count = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0;
const isObject = (v: unknown): v is Record<string, unknown> => typeof v === "object" && v !== null;
/** Inputs, terms and operands of one task. */
const maxInputs = 256;
/** Elements of one task. The bytes are bounded as well; copies may have elements of one byte. */
const maxElements = 2 ** 26;
const maxColumns = 2 ** 24;

/**
 * What is wrong with a task from a stranger, or null. It is bounded here; a program that makes no sense within the bounds gives
 * numbers that make none, or an error.
 */
export function taskFault(value: unknown): string | null {
  if (!isObject(value)) return "the task is no object";
  const { kind, first, count: elements, inputs } = value;
  if (kind !== "merge" && kind !== "survey") return "its kind is neither merge nor survey";
  if (!count(value.id) || !count(first) || !count(elements) || elements < 1 || elements > maxElements)
    return `its slice is not 1 to ${maxElements} elements from a first one on`;
  if (!Array.isArray(inputs) || inputs.length > maxInputs) return `it has no list of at most ${maxInputs} inputs`;
  for (const input of inputs)
    if (!isObject(input) || !count(input.file) || !count(input.start)) return "an input is no place";
  const users = (list: unknown): string | null => {
    if (!Array.isArray(list) || list.length > maxInputs)
      return `it has no list of at most ${maxInputs} terms or operands`;
    for (const u of list) {
      if (!isObject(u) || !count(u.input) || u.input >= inputs.length) return "a term or operand names no input";
      if (u.base !== undefined && u.base !== null && !(count(u.base) && u.base < inputs.length))
        return "a base names no input";
      if (!isObject(u.keep)) return "a term or operand does not say what it keeps";
      const rows = u.keep.rows;
      if (rows === undefined) continue;
      if (!isObject(rows) || !count(rows.columns) || rows.columns < 1 || rows.columns > maxColumns)
        return `rows have 1 to ${maxColumns} columns`;
    }
    return null;
  };
  const dtypes = (list: unknown): string | null =>
    Array.isArray(list) &&
    list.length === inputs.length &&
    list.every((d) => (floatDtypes as readonly unknown[]).includes(d))
      ? null
      : "its inputs have no dtypes, or unknown ones";
  if (kind === "survey") {
    const { round, pieces, pieceLength } = value;
    if (!isObject(round)) return "it has no round";
    if (round.op === "census") return "a census is not sent";
    if (pieces !== undefined && !(Array.isArray(pieces) && pieces.every(count))) return "its pieces are no places";
    if (pieceLength !== undefined && !(count(pieceLength) && pieceLength >= 1 && pieceLength <= tileElements))
      return `its pieces do not have 1 to ${tileElements} elements`;
    return dtypes(value.dtypes) ?? users(round.operands);
  }
  const { program, output, policy } = value;
  if (!isObject(output) || !count(output.file) || !count(output.start)) return "its output is no place";
  if (!isObject(policy)) return "it has no policy";
  if (!isObject(program)) return "it has no program";
  if (program.op === "copy")
    return [1, 2, 4, 8].includes(program.byteWidth as number) ? null : "elements have 1, 2, 4 or 8 bytes";
  if (program.op !== "merge" || !isObject(program.combine))
    return "its program is neither merge nor copy (whole matrices are not sent)";
  if (!(floatDtypes as readonly unknown[]).includes(program.out)) return "its output has no dtype, or an unknown one";
  return dtypes(program.inputs) ?? users(program.terms);
}

/** What is wrong with the receipt that a node sent for a task, or null: its shape, not its numbers. */
export function receiptFault(task: Task, value: unknown): string | null {
  if (!isObject(value) || value.kind !== task.kind || value.id !== task.id) return "it is not for this task";
  const { nonFinite, nanoseconds } = value;
  if (!isObject(nanoseconds) || !["read", "compute", "write"].every((k) => Number.isFinite(nanoseconds[k])))
    return "it tells no times";
  const known = (n: unknown) =>
    isObject(n) &&
    count(n.input) &&
    n.input < task.inputs.length &&
    count(n.count) &&
    n.count <= task.count &&
    count(n.first);
  if (!Array.isArray(nonFinite) || !nonFinite.every(known)) return "its non-finite elements are none";
  if (task.kind === "survey") return partFault(task, value.result);
  const { overflow, kept, differs } = value;
  if (!isObject(overflow) || !count(overflow.count) || !Number.isSafeInteger(overflow.first))
    return "it has no overflow";
  const terms = task.program.op === "merge" ? task.program.terms.length : 0;
  if (!Array.isArray(kept) || kept.length !== terms || !kept.every((k) => count(k) && k <= task.count))
    return "its numbers of kept elements are none";
  return Number.isSafeInteger(differs) && (differs as number) >= -1 && (differs as number) < task.inputs.length
    ? null
    : "what differs is no input";
}

type PartRule = readonly (readonly [keyof never | string, (value: unknown) => boolean])[];

function partFault(task: SurveyTask, part: unknown): string | null {
  const { round } = task;
  if (!isObject(part) || part.op !== round.op) return "its survey is another";
  const n = round.operands.length;
  const tiles = Math.ceil(task.count / tileOf(round.operands));
  const list =
    (of: (item: unknown) => boolean, length = n) =>
    (v: unknown) =>
      Array.isArray(v) && v.length === length && v.every(of);
  const f64 = (length: number) => (v: unknown) => v instanceof Float64Array && v.length === length;
  const u32 = (v: unknown) => v instanceof Uint32Array;
  const number = (v: unknown) => typeof v === "number";
  const rules = (): PartRule => {
    switch (round.op) {
      case "dots": {
        const { lines } = round;
        const sums = !lines
          ? tiles
          : lines.by === "row"
            ? rowPartCount(task.first, task.count, lines.length)
            : lineCount(lines, task.count);
        return [["blocks", list(f64(sums), (n * (n + 1)) / 2)]];
      }
      case "norms":
        return [
          ["l1", list(f64(tiles))],
          ["l2", list(f64(tiles))],
          ["max", list(number)],
          ["nonzero", list(count)],
        ];
      case "contributors":
        return [
          ["alone", list(count)],
          ["shared", list(count)],
        ];
      case "sample":
        return [["keys", list(u32)]];
      case "histogram":
        return [
          ["above", list(count)],
          ["nonzero", list(count)],
          ["bins", list((v) => v instanceof Uint32Array && v.length % 2 === 0 && v.length <= 2 * maxSlots)],
        ];
      case "equals":
        return [["blocks", list((v) => v instanceof Uint32Array && v.length === tiles)]];
      case "nth":
        return [["index", list(number)]];
      case "signs":
        return [
          ["positive", count],
          ["negative", count],
        ];
      case "census":
        return [["sums", () => false]]; // never sent
    }
  };
  const wrong = rules().find(([key, holds]) => !holds(part[key as keyof SurveyPart & string]));
  return wrong ? `its ${String(wrong[0])} do not fit the task` : null;
}

// What a coordinator and its workers say to each other. Tensor bytes never cross: a worker reads and writes files itself.
// What does cross beside small data is the arrays of a survey, and those are moved, not copied.

import { BraidError, type Diagnostic, isBraidError } from "../errors.ts";
import type { Receipt, Task } from "../kernel/program.ts";
import type { Job } from "./executor.ts";

export type ToWorker =
  /** First of all. `cancelled` is shared: the coordinator sets the slot of a task that nobody waits for any more. */
  | {
      readonly type: "init";
      readonly module: WebAssembly.Module;
      readonly job: Job;
      readonly cancelled: Int32Array;
      /** When the coordinator's clock was 0. */
      readonly timeOrigin: number | undefined;
    }
  | { readonly type: "task"; readonly slot: number; readonly task: Task }
  /** Bring what was written to stable storage. */
  | { readonly type: "sync" }
  /** Close the files; nothing follows. */
  | { readonly type: "close" };

export type FromWorker =
  | { readonly type: "ready" }
  /** The worker cannot work at all: its kernel or its memory could not be made. */
  | { readonly type: "unfit"; readonly error: WireError }
  /** The task is still under way, and this share of it is done. */
  | { readonly type: "beat"; readonly slot: number; readonly share: number }
  | { readonly type: "receipt"; readonly slot: number; readonly receipt: Receipt }
  | { readonly type: "error"; readonly slot: number; readonly error: WireError }
  | { readonly type: "synced"; readonly error: WireError | null }
  | { readonly type: "closed" };

/** An error as data. Structured cloning keeps neither the class nor the diagnostics of a BraidError. */
export interface WireError {
  /** Null: not a BraidError, so a fault of the program. */
  readonly diagnostics: readonly Diagnostic[] | null;
  readonly name: string;
  readonly message: string;
  readonly stack: string;
}

export function errorToWire(error: unknown): WireError {
  const e = error instanceof Error ? error : new Error(String(error));
  const diagnostics = isBraidError(e) ? e.diagnostics : null;
  return { diagnostics, name: e.name, message: e.message, stack: e.stack ?? "" };
}

export function errorFromWire(wire: WireError): Error {
  if (wire.diagnostics) return new BraidError(wire.diagnostics);
  const e = new Error(wire.message);
  e.name = wire.name;
  if (wire.stack) e.stack = wire.stack;
  return e;
}

/** The buffers that a receipt may give away, each once. */
export function transferList(receipt: Receipt): ArrayBuffer[] {
  const part = receipt.kind === "survey" ? receipt.result : receipt.survey;
  if (!part) return [];
  const buffers = new Set<ArrayBuffer>();
  for (const field of Object.values(part)) {
    if (!Array.isArray(field)) continue;
    for (const item of field) {
      if (ArrayBuffer.isView(item) && item.buffer instanceof ArrayBuffer) buffers.add(item.buffer);
    }
  }
  return [...buffers];
}

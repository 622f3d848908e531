// One thread of a browser tab, as the node that it works for knows it: what it has, and what it answers.

import type { Task } from "../kernel/program.ts";
import { decodeFrame, encodeFrame } from "./frame.ts";
import type { TaskData, TaskResult } from "./kernels.ts";
import { randomId } from "./sign.ts";
import type { NodeText, TabResult } from "./tab-wire.ts";
import { outputBytes, receiptFault } from "./wire.ts";

/** Our end of a WebSocket. */
export interface TabSocket {
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(): void;
}

interface Pending {
  readonly task: Task;
  readonly done: (result: TaskResult | null) => void;
}

/** Said of bytes that nobody can have asked for. */
export const noResult = "it sent what is no result";

export class Tab {
  readonly socket: TabSocket;
  /** What it proves to know the secret with. */
  readonly nonce = randomId();
  id = "";
  state: "new" | "testing" | "ready" | "gone" = "new";
  tasks = 0;
  /** Jobs that were given answers of it that were not computed here whole. */
  readonly jobs = new Set<string>();
  /** By lease. */
  private readonly pending = new Map<number, Pending>();

  constructor(socket: TabSocket) {
    this.socket = socket;
  }

  /** Tasks that it has. */
  get busy(): number {
    return this.pending.size;
  }

  has(lease: number): boolean {
    return this.pending.has(lease);
  }

  say(text: NodeText): void {
    try {
      this.socket.send(JSON.stringify(text));
    } catch {
      // It is gone.
    }
  }

  /** Null: it did not do it. Whoever asked drops the lease. */
  async run(lease: number, task: Task, { ranges, bytes }: TaskData, signal: AbortSignal): Promise<TaskResult | null> {
    const { promise, resolve } = Promise.withResolvers<TaskResult | null>();
    this.pending.set(lease, { task, done: resolve });
    const gone = () => resolve(null);
    signal.addEventListener("abort", gone, { once: true });
    try {
      this.socket.send(encodeFrame({ lease, task, ranges, bytes }).bytes);
      return await promise;
    } catch {
      return null;
    } finally {
      signal.removeEventListener("abort", gone);
    }
  }

  drop(lease: number): void {
    this.pending.delete(lease);
  }

  /** It does nothing of what it has. */
  giveUp(): void {
    for (const { done } of this.pending.values()) done(null);
  }

  /** Hands a result to whoever waits for it, or answers why the tab is to go. `leases`: so many were given out, to all tabs. */
  take(data: Uint8Array<ArrayBuffer>, leases: number, sliceBytes: number): string | null {
    let result: TabResult;
    try {
      result = decodeFrame(data, sliceBytes) as TabResult;
    } catch {
      return noResult;
    }
    const pending = this.pending.get(result?.lease);
    // The node may have given it up meanwhile.
    if (!pending) return Number.isSafeInteger(result?.lease) && result.lease <= leases ? null : noResult;
    const { task, done } = pending;
    if (result.fault !== null) {
      done(null);
      return `it cannot do a task: ${String(result.fault).slice(0, 100)}`;
    }
    const { slice, receipt, output } = result;
    const bound = slice?.kind === task.kind && slice.first === task.first && slice.count === task.count;
    if (!bound || !(output instanceof Uint8Array) || output.length !== outputBytes(task)) return noResult;
    if (receipt === null || receiptFault(task, receipt)) return noResult;
    done({ receipt, output });
    return null;
  }
}

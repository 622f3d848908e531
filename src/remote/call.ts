// A task on its way: who has it, who failed at it, what came back so far.

import type { Receipt, Task } from "../kernel/program.ts";
import { cutTask } from "./cut.ts";
import type { TaskResult } from "./kernels.ts";
import type { Member } from "./member.ts";
import { type Range, rangeBytes, rangesOf } from "./ranges.ts";
import { outputBytes } from "./wire.ts";

/** A task at a node. */
export interface Attempt {
  readonly member: Member;
  readonly stop: AbortController;
  readonly started: number;
  /** Bytes that travel for it by way of the coordinator. */
  readonly carried: number;
  /** When the request under way was begun: of a task in parts, the last of several. */
  asked: number;
  /** When the node last gave a sign of life. */
  seen: number;
  asking: boolean;
  /** The node writes into the output itself. */
  writes: boolean;
}

/** What a node answered and was not found wrong, while others are asked the same. */
export interface Answer {
  readonly member: Member;
  readonly result: TaskResult;
  /** Of its receipt and bytes. */
  readonly sha256: string;
}

export interface Call {
  readonly task: Task;
  readonly signal: AbortSignal;
  readonly beat: ((share: number) => void) | undefined;
  readonly resolve: (receipt: Receipt) => void;
  readonly reject: (error: unknown) => void;
  readonly onAbort: () => void;
  readonly ranges: readonly Range[];
  /** Its parts, by the most bytes of a part; null where it cannot be cut so far. */
  readonly cuts: Map<number, readonly Task[] | null>;
  /** Nodes that do not take it, or not in any parts. */
  readonly unfit: Set<Member>;
  /** Of inputs and output. */
  readonly bytes: number;
  readonly attempts: Set<Attempt>;
  /** Nodes that failed at it, or have it. */
  readonly tried: Set<Member>;
  readonly answers: Answer[];
  failures: number;
  local: boolean;
  localOnly: boolean;
  /** An answer is being written into place, or answers are compared. */
  claimed: boolean;
  settled: boolean;
}

export type CallTerms = Pick<Call, "task" | "signal" | "beat" | "resolve" | "reject" | "onAbort">;

export function createCall(terms: CallTerms): Call {
  const { task } = terms;
  const ranges = rangesOf(task);
  return {
    ...terms,
    ranges,
    cuts: new Map(),
    unfit: new Set(),
    bytes: rangeBytes(ranges) + outputBytes(task),
    attempts: new Set(),
    tried: new Set(),
    answers: [],
    failures: 0,
    local: false,
    // Whole matrices take all of their inputs at once, and no part of them can be audited alone.
    localOnly: task.kind === "merge" && !["merge", "copy"].includes(task.program.op),
    claimed: false,
    settled: false,
  };
}

/** What a node is sent of a task: parts of at most `limit` bytes, or null when there are none. */
export function partsFor(call: Call, member: Member, limit: number): readonly Task[] | null {
  if (call.unfit.has(member)) return null;
  const most = Math.min(limit, member.sliceBytes);
  let parts = call.cuts.get(most);
  if (parts === undefined) {
    parts = cutTask(call.task, most);
    call.cuts.set(most, parts);
  }
  if (parts === null) call.unfit.add(member);
  return parts;
}

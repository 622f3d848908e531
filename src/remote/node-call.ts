// A task on its way through nodes: who has it, who failed at it, what came back so far.

import type { Task } from "../kernel/program.ts";
import { type Call, type CallTerms, createCall } from "./calls.ts";
import { cutTask } from "./cut.ts";
import type { TaskResult } from "./kernels.ts";
import type { Member } from "./member.ts";
import { rangeBytes } from "./ranges.ts";
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

export interface NodeCall extends Call {
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
}

export function createNodeCall(terms: CallTerms): NodeCall {
  const call = createCall(terms);
  return {
    ...call,
    cuts: new Map(),
    unfit: new Set(),
    bytes: rangeBytes(call.ranges) + outputBytes(call.task),
    attempts: new Set(),
    tried: new Set(),
    answers: [],
  };
}

/** What a node is sent of a task: parts of at most `limit` bytes, or null when there are none. */
export function partsFor(call: NodeCall, member: Member, limit: number): readonly Task[] | null {
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

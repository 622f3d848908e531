// A task on its way through the queue: under which numbers it is there, and what was brought for it.

import type { Receipt } from "../kernel/program.ts";
import { type Call, type CallTerms, createCall } from "./calls.ts";
import { decodeFrame } from "./frame.ts";
import type { TaskResult } from "./kernels.ts";
import type { NodeLimits } from "./limits.ts";
import type { Standing } from "./queue-line.ts";
import type { QueueResult } from "./queue-wire.ts";
import { rangeBytes } from "./ranges.ts";
import { outputBytes, receiptFault } from "./wire.ts";

export interface Brought {
  readonly sha256: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** A task in the queue, under one number. */
export interface Lease {
  readonly number: number;
  readonly call: QueueCall;
  readonly since: number;
  /** Null until the server has it. */
  sequence: number | null;
  /** When it was last asked where it is, and what the answer was. */
  looked: number;
  standing: Standing;
  /** By worker. */
  readonly brought: Map<string, Brought>;
}

export interface QueueCall extends Call {
  /** Bytes that a worker may bring. */
  readonly uploadBytes: number;
  readonly leases: Set<Lease>;
}

export function createQueueCall(terms: CallTerms, limits: NodeLimits): QueueCall {
  const call = createCall(terms);
  const output = outputBytes(call.task);
  const large = rangeBytes(call.ranges) > limits.sliceBytes || output > limits.sliceBytes;
  return {
    ...call,
    localOnly: large || call.localOnly,
    // A survey brings its receipt, where that is too long for a message.
    uploadBytes: call.task.kind === "survey" ? limits.sliceBytes : output,
    leases: new Set(),
  };
}

/** What a result says with what was brought for it, or what is wrong with it. */
export function resultOf(lease: Lease, result: QueueResult, limits: NodeLimits): TaskResult | string {
  const { task } = lease.call;
  const { slice, upload, worker } = result;
  if (slice.kind !== task.kind || slice.first !== task.first || slice.count !== task.count)
    return "its result is of another slice";
  const brought = lease.brought.get(worker.id);
  if (upload && (!brought || brought.sha256 !== upload.sha256 || brought.bytes.length !== upload.length))
    return "what it brought is not what its result says";
  const bytes = upload ? brought!.bytes : new Uint8Array();
  let { receipt } = result;
  if (receipt === null) {
    try {
      receipt = decodeFrame(bytes, limits.sliceBytes) as Receipt;
    } catch {
      return "the receipt that it brought cannot be read";
    }
  }
  const fault = receiptFault(task, receipt);
  if (fault) return `its receipt is wrong: ${fault}`;
  const output = task.kind === "survey" ? new Uint8Array() : bytes;
  return output.length === outputBytes(task) ? { receipt, output } : "its output has another length than the slice";
}

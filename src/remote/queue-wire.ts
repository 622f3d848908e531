// What coordinator and workers of a queue say to each other: subjects, messages, and the seal on them. docs/queue.md shows it.

import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import type { Receipt, Task } from "../kernel/program.ts";
import { decodeFrame, encodeFrame } from "./frame.ts";
import { type Range, rangeBytes, rangesFault } from "./ranges.ts";
import { deriveKey, type Key } from "./sign.ts";
import { type AnswerMessage, type Locator, outputBytes, taskFault } from "./wire.ts";

/** Both sides must speak the same version. */
export const queueProtocol = "braid-queue-1";

export const streams = { tasks: "BRAID_TASKS", results: "BRAID_RESULTS" } as const;

/** A worker that says nothing for so long has lost its task, unless the merge says otherwise. */
export const defaultLeaseMs = 30_000;
export const leaseBounds = { least: 1_000, most: 600_000 } as const;
/** How often the queue gives a task out before the coordinator does it itself. */
export const maxDeliver = 4;
/** A worker says so often that it is there. */
export const helloMs = 5_000;
/** Of a sealed message: the server's own limit is 1 MiB, and a descriptor has at most 256 KiB. */
export const messageBytes = 256 * 1024;
const sealBytes = 32;
/** Names of workers, as they are shown. */
const maxName = 64;

/**
 * Who works together: workers take tasks of coordinators that have the same token and the same kernels, and never see others.
 * It is part of the subject, so the server sorts them.
 */
export const groupOf = (key: Key, kernel: string): string =>
  bytesToHex(hmac(sha256, key, utf8ToBytes(`${queueProtocol} group ${kernel}`))).slice(0, 16);

export const queueKey = (token: string): Key => deriveKey(token);

export const subjects = {
  task: (group: string, job: string) => `braid.task.${group}.${job}`,
  /** Of all jobs of a group: what its workers listen to. */
  tasks: (group: string) => `braid.task.${group}.>`,
  result: (job: string) => `braid.result.${job}`,
  /** A worker says that it is there. */
  hello: (group: string) => `braid.hello.${group}`,
  /** A coordinator asks who is there. */
  call: (group: string) => `braid.call.${group}`,
} as const;

/** Paths at the coordinator's address. */
export const leaseRoutes = {
  begin: (lease: number | string, worker: string) => `/v1/lease/${lease}/${worker}`,
  inputs: (lease: number | string, worker: string) => `/v1/lease/${lease}/${worker}/inputs`,
  output: (lease: number | string, worker: string) => `/v1/lease/${lease}/${worker}/output`,
} as const;

export interface QueueTask {
  readonly protocol: string;
  readonly job: string;
  readonly lease: number;
  readonly kernel: string;
  /** Origin where inputs are read and outputs are brought. */
  readonly coordinator: string;
  readonly leaseMs: number;
  readonly task: Task;
  readonly ranges: readonly Range[];
  /** Where the files lie on the coordinator's machine, for workers that share its disk. */
  readonly locators: readonly Extract<Locator, { path: string }>[];
}

export interface QueueResult {
  readonly protocol: string;
  readonly job: string;
  readonly lease: number;
  /** How often the task had been given out. */
  readonly delivery: number;
  readonly kernel: string;
  readonly worker: WorkerName;
  readonly slice: AnswerMessage["slice"];
  /** Null when it was brought to the coordinator, for its length, or when the worker could not do it. */
  readonly receipt: Receipt | null;
  /** What was brought to the coordinator: the slice of the output, or a receipt too long for a message. */
  readonly upload: { readonly sha256: string; readonly length: number } | null;
  /** Why there is no result. */
  readonly fault: string | null;
}

export interface WorkerName {
  /** 32 hex digits, made anew at every start. */
  readonly id: string;
  /** For people. */
  readonly name: string;
}

export interface Hello {
  readonly protocol: string;
  readonly worker: WorkerName;
  /** Tasks that it takes at a time. */
  readonly lanes: number;
  readonly cores: number;
  readonly version: string;
  readonly runtime: string;
  readonly kernel: string;
  /** Its last word. */
  readonly leaving: boolean;
}

/** What a seal is for: a message of one kind and subject is none of another. */
export type SealKind = "task" | "result" | "hello";

const macOf = (key: Key, kind: SealKind, subject: string, bytes: Uint8Array) =>
  hmac
    .create(sha256, key)
    .update(utf8ToBytes(`${queueProtocol}\n${kind}\n${subject}\n`))
    .update(bytes)
    .digest();

/** HMAC-SHA-256 over version, kind, subject and frame, and then the frame. */
export function seal(key: Key, kind: SealKind, subject: string, value: QueueTask | QueueResult | Hello): Uint8Array {
  const { bytes } = encodeFrame(value);
  const out = new Uint8Array(sealBytes + bytes.length);
  out.set(macOf(key, kind, subject, bytes));
  out.set(bytes, sealBytes);
  return out;
}

/** What was sealed, or null when the seal is another's, or it is damaged or too long. */
export function unseal(key: Key, kind: SealKind, subject: string, message: Uint8Array): unknown {
  if (message.length <= sealBytes || message.length > messageBytes) return null;
  // Node's Buffer, which a transport may give, has a slice of its own, which does not copy.
  const bytes = new Uint8Array(message.length - sealBytes);
  bytes.set(message.subarray(sealBytes));
  const wanted = macOf(key, kind, subject, bytes);
  let differ = 0;
  for (let i = 0; i < sealBytes; i++) differ |= wanted[i]! ^ message[i]!;
  if (differ !== 0) return null;
  try {
    return decodeFrame(bytes, messageBytes);
  } catch {
    return null;
  }
}

const isObject = (v: unknown): v is Record<string, unknown> => typeof v === "object" && v !== null;
const count = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0;
const isHex = (v: unknown, digits: number) => typeof v === "string" && v.length === digits && /^[0-9a-f]+$/.test(v);

function workerFault(worker: unknown): boolean {
  return !isObject(worker) || !isHex(worker.id, 32) || typeof worker.name !== "string" || worker.name.length > maxName;
}

/** What is wrong with a task, or null. Whoever sealed it has the token; what it asks for is bounded all the same. */
export function queueTaskFault(value: unknown, kernel: string, sliceBytes: number): string | null {
  if (!isObject(value) || value.protocol !== queueProtocol) return "it is of another version";
  if (value.kernel !== kernel) return "it is for other kernels";
  const { job, lease, leaseMs, coordinator, task, ranges, locators } = value;
  if (!isHex(job, 32) || !count(lease)) return "it has no job or lease";
  if (!count(leaseMs) || leaseMs < leaseBounds.least || leaseMs > leaseBounds.most) return "its lease is no time";
  if (typeof coordinator !== "string" || !/^https?:\/\/[^/]+$/.test(coordinator)) return "it names no coordinator";
  const fault = taskFault(task) ?? rangesFault(ranges);
  if (fault) return fault;
  const known = task as Task;
  if (rangeBytes(ranges as Range[]) > sliceBytes || outputBytes(known) > sliceBytes)
    return `it has more than ${sliceBytes} bytes of inputs or output`;
  const place = (l: unknown) =>
    isObject(l) && count(l.file) && typeof l.path === "string" && typeof l.version === "string";
  return Array.isArray(locators) && locators.every(place) ? null : "its locators are none";
}

/** What is wrong with a result for a task, or null. Receipts are looked at by `receiptFault`. */
export function queueResultFault(value: unknown, job: string, kernel: string): string | null {
  if (!isObject(value) || value.protocol !== queueProtocol) return "it is of another version";
  const { lease, delivery, worker, slice, upload, fault, receipt } = value;
  if (value.job !== job || value.kernel !== kernel) return "it is of another job, or other kernels";
  if (!count(lease) || !count(delivery) || workerFault(worker) || !isObject(slice)) return "it is not to a task";
  if (upload !== null && (!isObject(upload) || !isHex(upload.sha256, 64) || !count(upload.length)))
    return "what it brought is not named";
  if (fault !== null) return typeof fault === "string" ? null : "its fault is none";
  return receipt !== null || upload !== null ? null : "it says nothing";
}

export const helloFault = (value: unknown): boolean =>
  !isObject(value) ||
  value.protocol !== queueProtocol ||
  workerFault(value.worker) ||
  !count(value.lanes) ||
  value.lanes < 1 ||
  !count(value.cores) ||
  typeof value.version !== "string" ||
  typeof value.runtime !== "string" ||
  typeof value.leaving !== "boolean";

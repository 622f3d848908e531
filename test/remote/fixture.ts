// Nodes in this process, with a token or without, and what tests say to them.

import { compileKernel } from "../../src/kernel/kernel.ts";
import type { Task } from "../../src/kernel/program.ts";
import { type AppOptions, createApp } from "../../src/remote/app.ts";
import { type Clock, realClock } from "../../src/remote/clock.ts";
import { encodeFrame } from "../../src/remote/frame.ts";
import { createInlineKernels } from "../../src/remote/kernels.ts";
import { type Range, rangesOf } from "../../src/remote/ranges.ts";
import { deriveKey, requestSignature, sha256Hex } from "../../src/remote/sign.ts";
import { frameType, headers, type Locator, protocol, routeOf, type TaskMessage } from "../../src/remote/wire.ts";

export const module = compileKernel();
export const clock: Clock = realClock(() => performance.now());
export const kernels = createInlineKernels({ module, workerBytes: 16 << 20, now: () => performance.now() });
export const token = "0123456789abcdef0123456789abcdef";

export function testApp(options: Partial<AppOptions> = {}) {
  return createApp({
    kernels,
    token: null,
    version: "test",
    runtime: "test",
    clock,
    today: () => Date.now(),
    ...options,
  });
}

/** A message for a task whose files are in memory. */
export function messageFor(task: Task, files: readonly Uint8Array[], changes: Partial<TaskMessage> = {}): TaskMessage {
  const ranges = changes.ranges ?? rangesOf(task);
  const located = new Set((changes.locators ?? []).map((l: Locator) => l.file));
  const parts = ranges
    .filter((r: Range) => !located.has(r.file))
    .map((r: Range) => files[r.file]!.subarray(r.start, r.end));
  const inline = new Uint8Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const part of parts) {
    inline.set(part, at);
    at += part.length;
  }
  return { protocol, job: "job", lease: 7, kernel: kernels.sha256, task, ranges, locators: [], inline, ...changes };
}

export interface RequestChanges {
  readonly token?: string;
  readonly time?: number;
  readonly nonce?: string;
  readonly headers?: Record<string, string>;
  /** After it was signed. */
  readonly late?: Record<string, string>;
  readonly body?: Uint8Array<ArrayBuffer>;
}

/** A request as a coordinator would make it, with what a test spoils. */
export async function requestOf(
  path: string,
  message: TaskMessage,
  changes: RequestChanges = {},
): Promise<RequestInit> {
  const body = changes.body ?? encodeFrame(message).bytes;
  const hash = await sha256Hex(body);
  const nonce =
    changes.nonce ??
    [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
  const all: Record<string, string> = {
    "content-type": frameType,
    "content-length": String(body.length),
    [headers.protocol]: protocol,
    [headers.kernel]: message.kernel,
    [headers.job]: message.job,
    [headers.lease]: String(message.lease),
    [headers.hash]: hash,
    [headers.time]: String(changes.time ?? Date.now()),
    [headers.nonce]: nonce,
    ...changes.headers,
  };
  if (changes.token) {
    const get = (name: keyof typeof headers) => all[headers[name]]!;
    all[headers.signature] = requestSignature(deriveKey(changes.token), {
      method: "POST",
      path,
      time: get("time"),
      nonce,
      job: get("job"),
      lease: get("lease"),
      hash: get("hash"),
    });
  }
  return { method: "POST", body, headers: { ...all, ...changes.late } };
}

export async function send(
  app: ReturnType<typeof testApp>,
  message: TaskMessage,
  changes: RequestChanges = {},
  caller: object = {},
): Promise<Response> {
  const path = routeOf(message.task);
  return app.request(path, await requestOf(path, message, changes), caller);
}

export const refusalOf = async (response: Response) =>
  `${response.status} ${((await response.json()) as { error: { kind: string } }).error.kind}`;

// One node as its coordinator sees it: asks it, and believes an answer only when it is whole and belongs to the question.

import { isBraidError } from "../errors.ts";
import type { Task } from "../kernel/program.ts";
import { BodyError, readBody } from "./body.ts";
import type { Clock } from "./clock.ts";
import { Blank, decodeFrame, encodeFrame } from "./frame.ts";
import type { TaskResult } from "./kernels.ts";
import { frameOverhead, type NodeLimits } from "./limits.ts";
import { type Range, rangeBytes } from "./ranges.ts";
import { answerSignature, deriveKey, emptySha256, type Key, requestSignature, sameSecret, sha256Hex } from "./sign.ts";
import {
  type About,
  type AnswerMessage,
  frameType,
  headers,
  type Locator,
  outputBytes,
  protocol,
  type Refusal,
  receiptFault,
  routeOf,
  routes,
  type TaskMessage,
} from "./wire.ts";

export interface NodeAddress {
  /** http or https, without a path. */
  readonly url: string;
  readonly token: string | null;
}

/**
 * - `busy`: ask again later. `lost`: no answer, or the node's own trouble. `invalid`: an answer that is damaged or not to the
 *   question. `wrong`: a whole answer with wrong numbers.
 * - `locator`: the node cannot read what it was pointed at. `task`: it does not take this task. `unfit`: it takes none (token,
 *   kernels, version).
 */
export type NodeFault = "busy" | "lost" | "invalid" | "wrong" | "locator" | "task" | "unfit";

export class NodeError extends Error {
  readonly fault: NodeFault;
  /** Milliseconds. */
  readonly retryAfter: number;
  constructor(fault: NodeFault, message: string, retryAfter = 0) {
    super(message);
    this.fault = fault;
    this.retryAfter = retryAfter;
  }
}

export type Fetch = (url: string, init: RequestInit) => Response | Promise<Response>;

export interface ClientOptions {
  readonly fetch: Fetch;
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly today: () => number;
  readonly job: string;
  readonly kernel: string;
  readonly limits: NodeLimits;
}

/** The longest that a node's wish to be left alone is followed. */
const maxRetryMs = 30_000;
/** Of a refusal or of what a node says about itself. */
const smallBytes = 1 << 20;

export class NodeClient {
  readonly address: NodeAddress;
  private readonly options: ClientOptions;
  private readonly key: Key | null;

  constructor(address: NodeAddress, options: ClientOptions) {
    this.address = address;
    this.options = options;
    this.key = address.token === null ? null : deriveKey(address.token);
  }

  async healthy(signal: AbortSignal): Promise<boolean> {
    try {
      const response = await this.options.fetch(this.url(routes.health), { signal, redirect: "error" });
      await response.body?.cancel();
      return response.ok;
    } catch {
      return false;
    }
  }

  async about(signal: AbortSignal): Promise<About> {
    const { bytes } = await this.ask("GET", routes.about, new Uint8Array(), 0, smallBytes, signal);
    let about: About;
    try {
      about = JSON.parse(new TextDecoder().decode(bytes)) as About;
    } catch {
      throw new NodeError("invalid", "what it says of itself is no JSON");
    }
    const whole = Number.isSafeInteger(about?.cores) && about.cores > 0 && Array.isArray(about.roots);
    if (!whole || typeof about.limits?.sliceBytes !== "number")
      throw new NodeError("invalid", "what it says of itself is not what a node says");
    if (about.protocol !== protocol) throw new NodeError("unfit", `it speaks ${about.protocol}, not ${protocol}`);
    if (about.kernel !== this.options.kernel)
      throw new NodeError(
        "unfit",
        `its kernels are ${String(about.kernel).slice(0, 12)}…, not ${this.options.kernel.slice(0, 12)}…`,
      );
    return about;
  }

  /**
   * Runs a task there. `fill` reads a range into its place in the request.
   *
   * @throws NodeError for all that is the node's doing; what `fill` throws as it is.
   */
  async run(
    task: Task,
    ranges: readonly Range[],
    locators: readonly Locator[],
    fill: (range: Range, target: Uint8Array<ArrayBuffer>) => void | Promise<void>,
    lease: number,
    signal: AbortSignal,
  ): Promise<TaskResult> {
    const { job, kernel, limits } = this.options;
    const located = new Set(locators.map((l) => l.file));
    const inlined = ranges.filter((r) => !located.has(r.file));
    const message = { protocol, job, lease, kernel, task, ranges, locators, inline: new Blank(rangeBytes(inlined)) };
    const frame = encodeFrame(message satisfies { [K in keyof TaskMessage]: unknown });
    if (frame.descriptorBytes > limits.descriptorBytes) throw new NodeError("task", "its descriptor is too long");
    const [inline] = frame.blanks;
    let at = 0;
    for (const range of inlined) {
      const length = range.end - range.start;
      const pending = fill(range, inline!.subarray(at, at + length));
      if (pending) await pending;
      at += length;
    }
    const limit = limits.sliceBytes + frameOverhead(limits);
    const { bytes } = await this.ask("POST", routeOf(task), frame.bytes, lease, limit, signal);
    let answer: AnswerMessage;
    try {
      answer = decodeFrame(bytes, limits.sliceBytes) as AnswerMessage;
    } catch (e) {
      throw new NodeError("invalid", isBraidError(e) ? e.message : "its answer cannot be read");
    }
    const slice = answer?.slice;
    const bound =
      answer?.protocol === protocol &&
      answer.job === job &&
      answer.lease === lease &&
      answer.kernel === kernel &&
      slice?.kind === task.kind &&
      slice.first === task.first &&
      slice.count === task.count;
    if (!bound) throw new NodeError("invalid", "its answer is to another question");
    const fault = receiptFault(task, answer.receipt);
    if (fault) throw new NodeError("invalid", `its receipt is wrong: ${fault}`);
    if (!(answer.output instanceof Uint8Array) || answer.output.length !== outputBytes(task))
      throw new NodeError("invalid", "its output has another length than the slice");
    return { receipt: answer.receipt, output: answer.output };
  }

  private url(route: string): string {
    return new URL(route, this.address.url).href;
  }

  private async ask(
    method: "GET" | "POST",
    route: string,
    body: Uint8Array<ArrayBuffer>,
    lease: number,
    limit: number,
    signal: AbortSignal,
  ): Promise<{ bytes: Uint8Array<ArrayBuffer> }> {
    const { clock, today, job, kernel, limits } = this.options;
    const hash = body.length === 0 ? emptySha256 : await sha256Hex(body);
    const time = String(Math.round(today()));
    const nonce = [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
    const sent: Record<string, string> = {
      [headers.protocol]: protocol,
      [headers.kernel]: kernel,
      [headers.job]: job,
      [headers.lease]: String(lease),
      [headers.hash]: hash,
      [headers.time]: time,
      [headers.nonce]: nonce,
      "accept-encoding": "identity",
    };
    if (method === "POST") sent["content-type"] = frameType;
    if (this.key) {
      const signed = { method, path: route, time, nonce, job, lease: String(lease), hash };
      sent[headers.signature] = requestSignature(this.key, signed);
    }
    // What was aborted meanwhile must not be begun: nobody would end it.
    signal.throwIfAborted();
    let response: Response;
    try {
      // A redirect would take the task, and what signs it, to somebody else.
      const init = { method, headers: sent, signal, redirect: "error" as const };
      response = await this.options.fetch(this.url(route), method === "POST" ? { ...init, body } : init);
    } catch (e) {
      signal.throwIfAborted();
      throw new NodeError("lost", e instanceof Error ? e.message : "no answer");
    }
    let bytes: Uint8Array<ArrayBuffer>;
    try {
      bytes = await readBody(response, limit, { ...limits, unsizedBytes: limit }, clock);
    } catch (e) {
      signal.throwIfAborted();
      throw new NodeError(e instanceof BodyError ? "invalid" : "lost", e instanceof Error ? e.message : "it broke off");
    }
    if (response.status !== 200) throw refusal(response, bytes);
    const claimed = response.headers.get(headers.hash) ?? "";
    if (claimed !== (await sha256Hex(bytes)))
      throw new NodeError("invalid", "its answer has another SHA-256 than it says");
    if (this.key) {
      const signature = response.headers.get(headers.signature) ?? "";
      if (!sameSecret(this.key, answerSignature(this.key, nonce, 200, claimed), signature))
        throw new NodeError("invalid", "its answer is not signed with the token");
    }
    return { bytes };
  }
}

function refusal(response: Response, bytes: Uint8Array): NodeError {
  const { status } = response;
  let said = `status ${status}`;
  let kind = "";
  try {
    const { error } = JSON.parse(new TextDecoder().decode(bytes.subarray(0, smallBytes))) as Refusal;
    kind = String(error.kind);
    said = `${String(error.message).slice(0, 200)} (${status})`;
  } catch {
    // Not a node's words: a proxy's page.
  }
  const seconds = Number(response.headers.get("retry-after") ?? 1);
  const retry = Math.min(maxRetryMs, (Number.isFinite(seconds) && seconds >= 0 ? seconds : 1) * 1000);
  if (status === 503) return new NodeError("busy", said, retry);
  if (kind === "kernel-mismatch" || kind === "protocol" || status === 401 || status === 429)
    return new NodeError("unfit", said);
  if (status === 403 || (status === 409 && kind === "changed") || (status === 502 && kind === "input"))
    return new NodeError("locator", said);
  if (status === 413 || status === 422) return new NodeError("task", said);
  return new NodeError("lost", said);
}

// A signed request and its checked answer: what everybody who asks a node or a coordinator does.

import { BodyError, readBody } from "./body.ts";
import type { Clock } from "./clock.ts";
import type { NodeLimits } from "./limits.ts";
import { answerSignature, emptySha256, type Key, randomId, requestSignature, sameSecret, sha256Hex } from "./sign.ts";
import { frameType, headers, protocol, type Refusal } from "./wire.ts";

/**
 * - `busy`: ask again later. `lost`: no answer, or the node's own trouble. `invalid`: an answer that is damaged or not to the
 *   question. `wrong`: a whole answer with wrong numbers.
 * - `draining`: it is about to end, in good order. `locator`: the node cannot read or write what it was pointed at. `task`: it does
 *   not take this task. `unfit`: it takes none (token, kernels, version).
 */
export type NodeFault = "busy" | "draining" | "lost" | "invalid" | "wrong" | "locator" | "task" | "unfit";

export class NodeError extends Error {
  readonly fault: NodeFault;
  /** Milliseconds. */
  readonly retryAfter: number;
  /** Of a refusal; 0 when there was none. */
  readonly status: number;
  constructor(fault: NodeFault, message: string, retryAfter = 0, status = 0) {
    super(message);
    this.fault = fault;
    this.retryAfter = retryAfter;
    this.status = status;
  }
}

export type Fetch = (url: string, init: RequestInit) => Response | Promise<Response>;

export interface AskOptions {
  readonly fetch: Fetch;
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly today: () => number;
  readonly key: Key | null;
  readonly kernel: string;
  readonly limits: NodeLimits;
}

export interface Question {
  readonly method: "GET" | "POST" | "PUT";
  /** Origin of who is asked. */
  readonly url: string;
  readonly route: string;
  readonly body: Uint8Array<ArrayBuffer>;
  readonly job: string;
  readonly lease: number;
  /** Bytes of the answer, at most. */
  readonly limit: number;
}

/** The longest that a node's wish to be left alone is followed. */
const maxRetryMs = 30_000;
/** Of a refusal, or of what a node says about itself. */
export const smallBytes = 1 << 20;

/**
 * The body of an answer with status 200, whole, with the hash it says, and signed when there is a key.
 *
 * @throws NodeError for all that is the other side's doing; the signal's reason when aborted.
 */
export async function ask(
  options: AskOptions,
  question: Question,
  signal: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  const { clock, today, key, kernel, limits } = options;
  const { method, route, body, job, lease, limit } = question;
  const hash = body.length === 0 ? emptySha256 : await sha256Hex(body);
  const time = String(Math.round(today()));
  const nonce = randomId();
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
  if (method !== "GET") sent["content-type"] = frameType;
  if (key) {
    const signed = { method, path: route, time, nonce, job, lease: String(lease), hash };
    sent[headers.signature] = requestSignature(key, signed);
  }
  // What was aborted meanwhile must not be begun: nobody would end it.
  signal.throwIfAborted();
  let response: Response;
  try {
    // A redirect would take the task, and what signs it, to somebody else.
    const init = { method, headers: sent, signal, redirect: "error" as const };
    const address = new URL(route, question.url).href;
    response = await options.fetch(address, method === "GET" ? init : { ...init, body });
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
  if (key) {
    const signature = response.headers.get(headers.signature) ?? "";
    if (!sameSecret(key, answerSignature(key, nonce, 200, claimed), signature))
      throw new NodeError("invalid", "its answer is not signed with the token");
  }
  return bytes;
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
  const fault = (fault: NodeFault, retryAfter = 0) => new NodeError(fault, said, retryAfter, status);
  const seconds = Number(response.headers.get("retry-after") ?? 1);
  const retry = Math.min(maxRetryMs, (Number.isFinite(seconds) && seconds >= 0 ? seconds : 1) * 1000);
  if (status === 503) return fault(kind === "draining" ? "draining" : "busy", retry);
  if (kind === "kernel-mismatch" || kind === "protocol" || status === 401 || status === 429) return fault("unfit");
  if (status === 403 || (status === 409 && kind === "changed") || (status === 502 && kind === "input"))
    return fault("locator");
  if (kind === "recalled") return fault("wrong");
  if (status === 413 || status === 422) return fault("task");
  return fault("lost");
}

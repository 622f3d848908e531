// Refusals: what the server of a node or of a coordinator answers when it does not do what it is asked.

import { isBraidError } from "../errors.ts";
import { BodyError } from "./body.ts";
import { LocatorError } from "./locate.ts";
import type { Denial } from "./sign.ts";
import type { Refusal } from "./wire.ts";

/** A refusal on its way to the client. */
export class Refused extends Error {
  readonly status: number;
  readonly kind: string;
  readonly retryAfter: number | undefined;
  constructor(status: number, kind: string, message: string, retryAfter?: number) {
    super(message);
    this.status = status;
    this.kind = kind;
    this.retryAfter = retryAfter;
  }
}

/** Seconds after which a busy node may be asked again, and one that is about to end. */
export const busyRetrySeconds = 1;
export const drainRetrySeconds = 30;

const kindOf: Record<number, string> = {
  400: "bad-request",
  401: "denied",
  403: "denied",
  408: "too-slow",
  409: "changed",
  411: "length-required",
  413: "too-large",
  415: "unsupported",
  422: "bad-task",
  429: "denied",
  502: "input",
  503: "busy",
};

function asRefused(e: unknown): Refused {
  if (e instanceof Refused) return e;
  if (e instanceof BodyError || e instanceof LocatorError) return new Refused(e.status, kindOf[e.status]!, e.message);
  if (isBraidError(e)) {
    if (e.kind === "node-answer") return new Refused(400, "bad-request", e.message);
    // Its message can hold paths of this machine.
    return new Refused(502, "input", `the node could not read an input (${e.kind})`);
  }
  // The kernels' own words hold sizes and indices, nothing of this machine.
  const message = e instanceof TypeError || e instanceof RangeError ? e.message : "the task could not be run";
  return new Refused(422, "bad-task", message);
}

export function refuseDenied({ status, message, retryAfter }: Denial): never {
  throw new Refused(status, kindOf[status]!, message, retryAfter);
}

export function refuse(e: unknown): Response {
  const { status, kind, message, retryAfter } = asRefused(e);
  const refusal: Refusal = { error: { kind, message } };
  const extra = retryAfter === undefined ? {} : { "retry-after": String(retryAfter) };
  return Response.json(refusal, { status, headers: extra });
}

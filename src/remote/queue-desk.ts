// The coordinator's own address: workers that do not share its disk read the inputs of a task here, and all bring their outputs.
// A worker sees only what its lease reads.

import { type Context, Hono } from "hono";
import type { Caller } from "./app.ts";
import { BodyError, declaredLength, readBody } from "./body.ts";
import type { Clock } from "./clock.ts";
import type { NodeLimits } from "./limits.ts";
import { type Range, rangeBytes } from "./ranges.ts";
import { busyRetrySeconds, Refused, refuse, refuseDenied } from "./refusal.ts";
import { answerSignature, createGate, type Key, sha256Hex } from "./sign.ts";
import { frameHeaders, frameType, headers } from "./wire.ts";

/** Inputs and outputs on their way at the same time: each is in memory whole. */
export const maxTransfers = 8;

/** A task as the desk knows it. */
export interface OpenLease {
  readonly ranges: readonly Range[];
  /** Bytes that a worker may bring. */
  readonly uploadBytes: number;
}

export interface DeskOptions {
  readonly key: Key;
  readonly job: string;
  /** SHA-256 of the kernels. */
  readonly kernel: string;
  readonly limits: NodeLimits;
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly today: () => number;
  /** Null: nobody waits for it any more. */
  readonly lease: (lease: number) => OpenLease | null;
  readonly banned: (worker: string) => boolean;
  readonly read: (range: Range, target: Uint8Array) => void | Promise<void>;
  readonly brought: (lease: number, worker: string, sha256: string, bytes: Uint8Array<ArrayBuffer>) => void;
}

export function createDesk(options: DeskOptions): Hono {
  const { key, limits, clock } = options;
  const gate = createGate(key, options.today, limits);
  let transfers = 0;

  const answer = async (c: Context, bytes: Uint8Array<ArrayBuffer>) => {
    const hash = await sha256Hex(bytes);
    const signature = answerSignature(key, c.req.header(headers.nonce) ?? "", 200, hash);
    return new Response(bytes, { headers: { ...frameHeaders(bytes, hash), [headers.signature]: signature } });
  };

  /** Who asks, and for what; refuses everybody else. */
  const admit = (c: Context): { lease: number; worker: string; open: OpenLease } => {
    const client = (c.env as Caller | undefined)?.client ?? "unknown";
    const denial = gate.check({ method: c.req.method, path: c.req.path, headers: c.req.raw.headers }, client);
    if (denial) refuseDenied(denial);
    if (c.req.header(headers.kernel) !== options.kernel)
      throw new Refused(409, "kernel-mismatch", `this merge's kernels are ${options.kernel}`);
    const [lease, worker] = [c.req.param("lease") ?? "", c.req.param("worker") ?? ""];
    if (c.req.header(headers.lease) !== lease) throw new Refused(400, "bad-request", "the lease is not the header's");
    if (options.banned(worker)) throw new Refused(403, "banned", "this worker brought wrong bytes: it is not believed");
    const open = c.req.header(headers.job) === options.job ? options.lease(Number(lease)) : null;
    if (!open) throw new Refused(410, "gone", "nobody waits for this task any more");
    return { lease: Number(lease), worker, open };
  };

  const transfer = async <T>(work: () => Promise<T>): Promise<T> => {
    if (transfers >= maxTransfers)
      throw new Refused(503, "busy", `${maxTransfers} transfers are under way`, busyRetrySeconds);
    transfers++;
    try {
      return await work();
    } finally {
      transfers--;
    }
  };

  const app = new Hono();
  app.onError(refuse);
  app.notFound(() => refuse(new Refused(404, "not-found", "there is no such route")));
  app.get("/v1/lease/:lease/:worker", (c) => {
    admit(c);
    return answer(c, new Uint8Array());
  });
  app.get("/v1/lease/:lease/:worker/inputs", (c) => {
    const { open } = admit(c);
    return transfer(async () => {
      const bytes = new Uint8Array(rangeBytes(open.ranges));
      let at = 0;
      for (const range of open.ranges) {
        const length = range.end - range.start;
        const pending = options.read(range, bytes.subarray(at, at + length));
        if (pending) await pending;
        at += length;
      }
      return answer(c, bytes);
    });
  });
  app.put("/v1/lease/:lease/:worker/output", (c) => {
    const { lease, worker, open } = admit(c);
    const { raw } = c.req;
    declaredLength(raw.headers, open.uploadBytes);
    if (c.req.header("content-type") !== frameType)
      throw new Refused(415, "unsupported", `what is brought is sent as ${frameType}`);
    return transfer(async () => {
      const bytes = await readBody(raw, open.uploadBytes, limits, clock);
      const sha256 = await sha256Hex(bytes);
      if (sha256 !== c.req.header(headers.hash))
        throw new BodyError(400, "the body has another SHA-256 than was signed");
      options.brought(lease, worker, sha256, bytes);
      return answer(c, new Uint8Array());
    });
  });
  return app;
}

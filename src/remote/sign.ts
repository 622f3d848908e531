// Who may ask. A request is signed with a key that both sides derive from the token, which itself never travels; the answer is
// signed with the same key over the same nonce, so that nobody between them can answer instead of the node.

import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import type { NodeLimits } from "./limits.ts";
import { headers, protocol } from "./wire.ts";

/** Bytes of a token, at least: as many as the hash has. */
export const tokenBytes = 32;

export const emptySha256 = bytesToHex(sha256(new Uint8Array()));

/** By the runtime's own code, about ten times as fast as JavaScript on bodies of megabytes. */
export async function sha256Hex(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return bytesToHex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
}

/** Sixteen random bytes in hex: a nonce, or the name of a job. */
export const randomId = (): string => bytesToHex(crypto.getRandomValues(new Uint8Array(16)));

export type Key = Uint8Array;

export const deriveKey = (token: string): Key => hmac(sha256, utf8ToBytes(token), utf8ToBytes(`${protocol} key`));

export interface Signed {
  readonly method: string;
  readonly path: string;
  readonly time: string;
  readonly nonce: string;
  readonly job: string;
  readonly lease: string;
  readonly hash: string;
}

/** One field a line. None can hold a line break: they come from a header or a path. */
export function requestSignature(key: Key, s: Signed): string {
  const text = [protocol, s.method, s.path, s.time, s.nonce, s.job, s.lease, s.hash].join("\n");
  return bytesToHex(hmac(sha256, key, utf8ToBytes(text)));
}

export function answerSignature(key: Key, nonce: string, status: number, hash: string): string {
  return bytesToHex(hmac(sha256, key, utf8ToBytes([protocol, "answer", nonce, status, hash].join("\n"))));
}

/** One file of a job in one state, until a time in milliseconds since 1970: what an address of an input says. */
export interface SignedInput {
  readonly job: string;
  readonly file: number;
  readonly version: string;
  readonly until: string;
}

export function inputSignature(key: Key, { job, file, version, until }: SignedInput): string {
  return bytesToHex(hmac(sha256, key, utf8ToBytes([protocol, "input", job, file, version, until].join("\n"))));
}

/** Takes the same time wherever two texts differ: their digests under a key are compared, all of them. */
export function sameSecret(key: Key, a: string, b: string): boolean {
  const [x, y] = [hmac(sha256, key, utf8ToBytes(a)), hmac(sha256, key, utf8ToBytes(b))];
  let differ = 0;
  for (let i = 0; i < x.length; i++) differ |= x[i]! ^ y[i]!;
  return differ === 0;
}

export interface Denial {
  readonly status: 401 | 429 | 503;
  readonly message: string;
  /** Seconds. */
  readonly retryAfter?: number;
}

export interface Gate {
  /** Null: the request may go on. Its body still has to have the hash that was signed. */
  check(
    request: { readonly method: string; readonly path: string; readonly headers: Headers },
    client: string,
  ): Denial | null;
}

/** A node without a token lets everybody in who can reach it. */
export const openGate: Gate = { check: () => null };

/** `now`: milliseconds since 1970. */
export function createGate(key: Key, now: () => number, limits: NodeLimits): Gate {
  const nonces = new Map<string, number>();
  const failures = new Map<string, number[]>();
  const deny = (client: string, message: string): Denial => {
    const since = now() - limits.failureMs;
    const recent = (failures.get(client) ?? []).filter((t) => t > since);
    failures.delete(client);
    failures.set(client, [...recent, now()].slice(-limits.failures));
    if (failures.size > limits.clients) failures.delete(failures.keys().next().value!);
    return { status: 401, message };
  };
  return {
    check({ method, path, headers: given }, client) {
      const at = now();
      const failed = (failures.get(client) ?? []).filter((t) => t > at - limits.failureMs);
      if (failed.length >= limits.failures) {
        const retryAfter = Math.ceil((failed[0]! + limits.failureMs - at) / 1000);
        return {
          status: 429,
          message: `${limits.failures} requests with a wrong signature within a minute`,
          retryAfter,
        };
      }
      const get = (name: keyof typeof headers) => given.get(headers[name]) ?? "";
      const [time, nonce, hash, signature] = [get("time"), get("nonce"), get("hash"), get("signature")];
      if (signature === "") return deny(client, "this node has a token: the request is not signed");
      if (!/^\d{1,16}$/.test(time) || !/^[0-9a-f]{32}$/.test(nonce) || !/^[0-9a-f]{64}$/.test(hash))
        return deny(client, "time, nonce or hash are not what they should be");
      const wanted = requestSignature(key, { method, path, time, nonce, job: get("job"), lease: get("lease"), hash });
      if (!sameSecret(key, wanted, signature)) return deny(client, "the signature is wrong");
      if (Math.abs(Number(time) - at) > limits.clockSkewMs)
        return deny(client, `the request's time is more than ${limits.clockSkewMs / 1000} s from this node's`);
      // In the order of their arrival, so that the old ones are the first.
      for (const [old, until] of nonces) {
        if (until > at) break;
        nonces.delete(old);
      }
      if (nonces.has(nonce)) return deny(client, "the request was made before");
      if (nonces.size >= limits.nonces)
        return { status: 503, message: "too many requests to remember", retryAfter: 60 };
      nonces.set(nonce, at + limits.nonceMs);
      return null;
    },
  };
}

// Copies of inputs on a hub or in a bucket, for nodes that may fetch from there. Before one is used it is asked for a little, so that
// another revision is an error of this coordinator and no node is banned for it.

import type { ByteSource } from "../bytes/source.ts";
import { fail, quote } from "../errors.ts";
import type { Fetch } from "./ask.ts";
import { BodyError, readBody } from "./body.ts";
import type { Clock } from "./clock.ts";
import { nodeLimits } from "./limits.ts";

/** Bytes at a file's start that are compared: of most, all of the header's names, dtypes and shapes. */
export const comparedBytes = 64 * 1024;
const pathLimit = 4096;

export interface Copy {
  readonly url: string;
  /** As nodes list those that they fetch from. */
  readonly host: string;
  /** A strong ETag. */
  readonly version: string | null;
}

/** Copies by the path of the local file. */
export type Copies = ReadonlyMap<string, Copy>;

export interface CopyOptions {
  /** As the user named it, for messages. */
  readonly place: string;
  readonly fetch: Fetch;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** The address of a file of a model whose files are at `base`. */
export const copyUrl = (base: URL, name: string): string =>
  `${base.href.replace(/\/+$/, "")}/${encodeURIComponent(name)}`;

/** What is wrong with an address for copies, or null: it is what nodes fetch from, and holds no secret that they would be told. */
export function copyFault(url: URL): string | null {
  if (url.protocol !== "https:" || url.port !== "") return "nodes fetch by https on port 443 only";
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "")
    return "an address for nodes has no user, password, query or fragment";
  return null;
}

/**
 * Compares length and first bytes of a file with those at `url`.
 *
 * @throws BraidError `input-changed` when they differ, `file-not-found` when no range is answered, `io` when nothing is.
 */
export async function checkCopy(local: ByteSource, url: string, options: CopyOptions): Promise<Copy> {
  const { place, signal } = options;
  const wrong = (kind: "input-changed" | "file-not-found" | "io", what: string): never =>
    fail(kind, `Cannot let nodes read ${quote(place, pathLimit)} at ${quote(url, pathLimit)}: ${what}`, {
      hint: "Give --input-url the address of the same revision, or leave it out.",
    });
  const ask = async (target: Uint8Array<ArrayBuffer>, version: string | null): Promise<string | null> => {
    const headers: Record<string, string> = { range: `bytes=0-${target.length - 1}`, "accept-encoding": "identity" };
    if (version !== null) headers["if-match"] = version;
    let response: Response;
    try {
      response = await options.fetch(url, { headers, credentials: "omit", signal });
    } catch (e) {
      signal.throwIfAborted();
      return wrong("io", `nothing answers (${(e as Error).name})`);
    }
    const give = async (kind: "input-changed" | "file-not-found", what: string) => {
      await response.body?.cancel();
      return wrong(kind, what);
    };
    // A server may know its files by other versions than those that it redirects to: nodes do without, then.
    if (response.status === 412 && version !== null) {
      await response.body?.cancel();
      await ask(target, null);
      return null;
    }
    if (response.status !== 206)
      return give("file-not-found", `a range was answered with status ${response.status}, not 206`);
    const says = response.headers.get("content-range") ?? "";
    const [, end, length] = /^bytes 0-(\d+)\/(\d+)$/.exec(says) ?? [];
    if (length === undefined) return give("file-not-found", `the answer does not tell the length (${quote(says)})`);
    if (Number(length) !== local.byteLength)
      return give("input-changed", `it has ${length} bytes, the local file ${local.byteLength}`);
    if (Number(end) !== target.length - 1) return give("file-not-found", "another range was answered");
    const limits = { ...nodeLimits, unsizedBytes: target.length };
    const got = await readBody(response, target.length, limits, options.clock, target).catch((e: unknown) => {
      signal.throwIfAborted();
      return wrong("io", e instanceof BodyError ? `a range: ${e.message}` : "a range broke off");
    });
    if (got.length !== target.length) return wrong("io", `a range has ${got.length} bytes, not ${target.length}`);
    const etag = response.headers.get("etag");
    return etag !== null && /^"[^"]*"$/.test(etag) && etag === (version ?? etag) ? etag : null;
  };
  const etag = await ask(new Uint8Array(1), null);
  const there = new Uint8Array(Math.min(comparedBytes, local.byteLength));
  const version = await ask(there, etag);
  const here = new Uint8Array(there.length);
  await local.read(0, here);
  const at = here.findIndex((byte, i) => byte !== there[i]);
  if (at >= 0) wrong("input-changed", `byte ${at} is ${there[at]}, that of the local file ${here[at]}`);
  return { url, host: new URL(url).hostname.replace(/^\[|\]$/g, ""), version };
}

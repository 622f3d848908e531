// A file behind an address, read by HTTP ranges. Nothing but the ranges asked for is downloaded: a server that answers a range with
// the whole file is refused before its body is read, and a file that changes while it is read is found by its ETag.

import type { ByteSource } from "../bytes/source.ts";
import { fail, quote } from "../errors.ts";
import { reason } from "./platform.ts";

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Waits between tries, in milliseconds, when a server is busy or a connection breaks. */
const retryMs = [200, 1_000, 4_000];
/** A server that says nothing for so long is asked again. */
const silenceMs = 15_000;
const mayPass = new Set([408, 429, 500, 502, 503, 504]);

/** Read together, as of blobs. */
const pieceBytes = 1 << 20;

/** What messages show of an address: queries and user names may hold secrets. */
export function showUrl(url: string): string {
  const { origin, pathname } = new URL(url);
  return quote(origin + pathname, 4096);
}

export interface UrlFacts {
  readonly byteLength: number;
  readonly etag: string | null;
}

/** Asks for one byte. Null where there is no such file. */
export async function probeUrl(url: string, fetch: Fetch, silence = silenceMs): Promise<UrlFacts | null> {
  const response = await ask(url, 0, 1, fetch, silence);
  if (response.status === 404 || response.status === 403 || response.status === 410) return null;
  const total = checkRange(url, response, 0, 1);
  await response.body?.cancel();
  return { byteLength: total, etag: strongTag(response) };
}

export class UrlSource implements ByteSource {
  readonly name: string;
  readonly byteLength: number;
  private readonly url: string;
  private readonly etag: string | null;
  private readonly fetch: Fetch;
  private readonly silence: number;
  private piece: Uint8Array = new Uint8Array(0);
  private pieceStart = 0;

  /** `silence`: milliseconds after which a server that says nothing is asked again. */
  constructor(url: string, facts: UrlFacts, fetch: Fetch, silence = silenceMs) {
    this.silence = silence;
    this.url = url;
    this.name = showUrl(url).slice(1, -1);
    this.byteLength = facts.byteLength;
    this.etag = facts.etag;
    this.fetch = fetch;
  }

  read(start: number, target: Uint8Array): void | Promise<void> {
    const end = start + target.byteLength;
    if (!(start >= 0) || end > this.byteLength) {
      fail("io", `Cannot read bytes ${start} to ${end} of ${showUrl(this.url)}: it has ${this.byteLength}`);
    }
    if (this.copy(start, target)) return;
    return this.load(start, Math.max(end, Math.min(start + pieceBytes, this.byteLength))).then(() => {
      if (!this.copy(start, target)) fail("io", `Cannot read bytes ${start} to ${end} of ${showUrl(this.url)}`);
    });
  }

  close(): void {
    this.piece = new Uint8Array(0);
  }

  private copy(start: number, target: Uint8Array): boolean {
    const at = start - this.pieceStart;
    if (at < 0 || at + target.length > this.piece.length) return target.length === 0;
    target.set(this.piece.subarray(at, at + target.length));
    return true;
  }

  private async load(start: number, end: number): Promise<void> {
    const action = `Cannot read bytes ${start} to ${end} of ${showUrl(this.url)}`;
    for (let attempt = 0; ; attempt++) {
      const response = await ask(this.url, start, end, this.fetch, this.silence);
      if (response.status === 412) fail("input-changed", `${action}: the file changed on the server`);
      const total = checkRange(this.url, response, start, end);
      const tag = strongTag(response);
      if (total !== this.byteLength || (this.etag !== null && tag !== this.etag)) {
        await response.body?.cancel();
        fail("input-changed", `${action}: the file changed on the server`);
      }
      const bytes = new Uint8Array(end - start);
      if (await fill(response, bytes, this.silence)) {
        this.piece = bytes;
        this.pieceStart = start;
        return;
      }
      if (attempt >= retryMs.length) fail("io", `${action}: the answer was shorter or longer than it said`);
      await pause(retryMs[attempt]!);
    }
  }
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

async function ask(url: string, start: number, end: number, fetch: Fetch, silence: number): Promise<Response> {
  const action = `Cannot read bytes ${start} to ${end} of ${showUrl(url)}`;
  for (let attempt = 0; ; attempt++) {
    let response: Response | null = null;
    let broken: unknown = null;
    const silent = new AbortController();
    const timer = setTimeout(() => silent.abort(new Error(`it said nothing for ${silence / 1000} s`)), silence);
    try {
      // No credentials, no referrer, no store: the server learns which bytes are wanted, and nothing else.
      response = await fetch(url, {
        headers: { range: `bytes=${start}-${end - 1}` },
        credentials: "omit",
        referrerPolicy: "no-referrer",
        // The browser's cache lets one reader of an address in at a time, and the others wait for seconds.
        cache: "no-store",
        signal: silent.signal,
      });
    } catch (cause) {
      broken = cause;
    } finally {
      clearTimeout(timer);
    }
    if (response && !mayPass.has(response.status)) return response;
    await response?.body?.cancel();
    if (attempt >= retryMs.length) {
      const why = response ? `the server answered ${response.status}` : reason(broken);
      fail("io", `${action}: ${why}`, {
        cause: broken,
        hint: "The server must be reachable, and allow this page to read from it (CORS), the header Range included.",
      });
    }
    await pause(retryMs[attempt]!);
  }
}

/** Whether `response` is exactly the range that was asked for; answers how long the whole file is. */
function checkRange(url: string, response: Response, start: number, end: number): number {
  const refuse = (why: string): never => {
    void response.body?.cancel();
    fail("io", `Cannot read bytes ${start} to ${end} of ${showUrl(url)}: ${why}`, {
      hint: "A model is read in ranges; the server must answer them with 206 and Content-Range.",
    });
  };
  if (response.status === 200) refuse("the server does not answer ranges, it would send the whole file");
  if (response.status !== 206) refuse(`the server answered ${response.status}`);
  const encoding = response.headers.get("content-encoding");
  if (encoding && encoding !== "identity") refuse(`the answer is encoded as ${quote(encoding)}`);
  const range = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(response.headers.get("content-range") ?? "");
  if (!range) refuse("the answer does not say which bytes it holds (Content-Range, which CORS must expose)");
  const [first, last, total] = range!.slice(1).map(Number) as [number, number, number];
  if (first !== start || last !== Math.min(end, total) - 1) refuse(`the answer holds bytes ${first} to ${last + 1}`);
  return total;
}

/** Weak tags may stay the same when bytes change. */
function strongTag(response: Response): string | null {
  const tag = response.headers.get("etag");
  return tag && !tag.startsWith("W/") ? tag : null;
}

/** Fills `target` from the body; false when the body is shorter or longer, breaks, or stops coming. */
async function fill(response: Response, target: Uint8Array, silence: number): Promise<boolean> {
  const reader = response.body?.getReader();
  if (!reader) return false;
  let at = 0;
  try {
    for (;;) {
      const timer = setTimeout(() => void reader.cancel().catch(() => {}), silence);
      const { done, value } = await reader.read().finally(() => clearTimeout(timer));
      if (done) return at === target.length;
      if (at + value.length > target.length) {
        await reader.cancel();
        return false;
      }
      target.set(value, at);
      at += value.length;
    }
  } catch {
    return false;
  }
}

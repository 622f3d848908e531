// A coordinator's inputs for nodes that do not share its disk: ranges of files by addresses that nobody else can make, that are
// good for a few minutes and for one state of one file. Whoever has such an address can read that file meanwhile, and nothing else.

import { type Context, Hono } from "hono";
import type { ByteSource } from "../bytes/source.ts";
import { isBraidError } from "../errors.ts";
import type { Job } from "../exec/executor.ts";
import type { Opener } from "../exec/files.ts";
import type { NodeLimits } from "./limits.ts";
import { pathVersion } from "./places.ts";
import type { ServedInputs } from "./pointers.ts";
import { inputSignature, type Key, sameSecret } from "./sign.ts";
import { inputRoute, type Refusal } from "./wire.ts";

/** An address is good for so long: longer than a request may take, with what waits before it. */
export const inputMs = 600_000;
/** Bytes of an answer that are in memory at a time. */
const pieceBytes = 1 << 20;

export interface InputsOptions {
  readonly job: Job;
  /** What answers of the job are bound to, and addresses of its inputs. */
  readonly jobId: string;
  readonly opener: Opener;
  /** Random, of this job alone. */
  readonly key: Key;
  /** Milliseconds since 1970. */
  readonly today: () => number;
  readonly limits: Pick<NodeLimits, "sliceBytes" | "connections">;
}

export interface Inputs {
  readonly app: Hono;
  /** The addresses, as those see them who reach the app at `origin`. */
  at(origin: string): ServedInputs;
}

const refused = (c: Context, status: 403 | 404 | 412 | 413 | 416 | 502 | 503, kind: string, message: string) =>
  c.json({ error: { kind, message } } satisfies Refusal, status);

export function createInputs({ job, jobId, opener, key, today, limits }: InputsOptions): Inputs {
  let open = 0;

  async function serve(c: Context): Promise<Response> {
    const file = Number(c.req.param("file"));
    const [until, version, signature] = ["until", "version", "signature"].map((q) => c.req.query(q) ?? "") as [
      string,
      string,
      string,
    ];
    const wanted = inputSignature(key, { job: jobId, file, version, until });
    if (c.req.param("job") !== jobId || !sameSecret(key, wanted, signature))
      return refused(c, 403, "denied", "the signature is wrong");
    if (!(Number(until) > today())) return refused(c, 403, "denied", "the address is not good any more");
    const range = /^bytes=(\d{1,15})-(\d{1,15})$/.exec(c.req.header("range") ?? "");
    if (!range) return refused(c, 416, "bad-range", "one range of bytes must be asked for");
    const [start, end] = [Number(range[1]), Number(range[2]) + 1];
    if (end - start > limits.sliceBytes)
      return refused(c, 413, "too-large", `a range has at most ${limits.sliceBytes} bytes`);
    const etag = `"${version}"`;
    const match = c.req.header("if-match");
    if (match !== undefined && match !== etag) return refused(c, 412, "changed", "the file is another one");
    let source: ByteSource;
    try {
      source = await opener.source(job.files[file]!.path);
    } catch (e) {
      return refused(c, 502, "input", `the file cannot be opened${isBraidError(e) ? ` (${e.kind})` : ""}`);
    }
    const size = source.byteLength;
    const changed = pathVersion(source) !== version;
    if (changed || start >= end || end > size) {
      await source.close();
      if (changed) return refused(c, 412, "changed", "the file is not what it was when the merge began");
      c.header("content-range", `bytes */${size}`);
      return refused(c, 416, "bad-range", `the file has ${size} bytes`);
    }
    c.header("content-range", `bytes ${start}-${end - 1}/${size}`);
    c.header("etag", etag);
    c.header("content-length", String(end - start));
    c.header("content-type", "application/octet-stream");
    c.header("cache-control", "no-store");
    return c.body(
      rangeStream(source, start, end, () => open--),
      206,
    );
  }

  const app = new Hono();
  app.notFound((c) => refused(c, 404, "not-found", "there is no such route"));
  app.get(`${inputRoute}:job/:file`, async (c) => {
    if (open >= limits.connections) {
      c.header("retry-after", "1");
      return refused(c, 503, "busy", `${limits.connections} ranges are being read`);
    }
    open++;
    const response = await serve(c);
    if (response.status !== 206) open--;
    return response;
  });
  const versions = new Map<number, Promise<string>>();
  const look = async (file: number): Promise<string> => {
    const source = await opener.source(job.files[file]!.path);
    try {
      return pathVersion(source);
    } finally {
      await source.close();
    }
  };
  return {
    app,
    at: (origin) => ({
      origin,
      async locate(file) {
        if (job.files[file]?.mode !== "read") throw new RangeError(`file ${file} is no input`);
        const known = versions.get(file) ?? look(file);
        versions.set(file, known);
        const version = await known;
        const until = String(Math.round(today() + inputMs));
        const signature = inputSignature(key, { job: jobId, file, version, until });
        const query = new URLSearchParams({ until, version, signature });
        return { url: `${origin}${inputRoute}${jobId}/${file}?${query}`, version: `"${version}"` };
      },
    }),
  };
}

/** A range in pieces, read as they are asked for. */
function rangeStream(source: ByteSource, start: number, end: number, done: () => void): ReadableStream<Uint8Array> {
  let at = start;
  let ended = false;
  const finish = async () => {
    if (ended) return;
    ended = true;
    done();
    await source.close();
  };
  return new ReadableStream(
    {
      async pull(controller) {
        try {
          const piece = new Uint8Array(Math.min(pieceBytes, end - at));
          await source.read(at, piece);
          at += piece.length;
          controller.enqueue(piece);
          if (at < end) return;
          controller.close();
        } catch (e) {
          controller.error(e);
        }
        await finish();
      },
      cancel: finish,
    },
    { highWaterMark: 1 },
  );
}

// `braid serve`: this machine as a node, on Bun and Deno.

import { lookup } from "node:dns/promises";
import { realpathSync } from "node:fs";
import { availableParallelism } from "node:os";
import { resolve, sep } from "node:path";
import { FileSource } from "../bytes/file.ts";
import { fail, quote } from "../errors.ts";
import { type Caller, createApp } from "../remote/app.ts";
import { realClock } from "../remote/clock.ts";
import { frameOverhead, nodeLimits } from "../remote/limits.ts";
import { LocatorError, type Reach } from "../remote/locate.ts";
import { attempt, runtimeName } from "./environment.ts";
import { plural } from "./format.ts";
import type { Context } from "./main.ts";
import { type CommandOf, version } from "./program.ts";
import { createThreadKernels } from "./serve-kernels.ts";
import { writeDiagnostic } from "./terminal.ts";
import { readToken } from "./token.ts";

/** Seconds that a connection may be silent: as long as a request may take. Bun's own default ends slow answers after ten. */
const idleSeconds = nodeLimits.requestMs / 1000;

interface Listener {
  readonly port: number;
  stop(): Promise<void>;
}

type Handler = (request: Request, caller: Caller) => Response | Promise<Response>;

interface DenoServer {
  readonly addr: { readonly port: number };
  shutdown(): Promise<void>;
}
interface DenoNamespace {
  serve(
    options: { hostname: string; port: number; onListen: () => void },
    handler: (request: Request, info: { remoteAddr: { hostname: string } }) => Response | Promise<Response>,
  ): DenoServer;
}

/** The two adapters: what a runtime's server gives, as a request and who sent it. */
function listen(hostname: string, port: number, handler: Handler): Listener {
  const { Deno: deno } = globalThis as unknown as { Deno?: DenoNamespace };
  if (deno) {
    const server = deno.serve({ hostname, port, onListen: () => {} }, (request, { remoteAddr }) =>
      handler(request, { client: remoteAddr.hostname }),
    );
    return { port: server.addr.port, stop: () => server.shutdown() };
  }
  if (!("Bun" in globalThis)) fail("usage", "Cannot serve here: braid serve runs on Bun and Deno");
  const server = Bun.serve({
    hostname,
    port,
    idleTimeout: idleSeconds,
    maxRequestBodySize: nodeLimits.sliceBytes + frameOverhead(nodeLimits),
    fetch: (request, self) => {
      const client = self.requestIP(request)?.address;
      return handler(request, client === undefined ? {} : { client });
    },
  });
  return { port: server.port ?? port, stop: () => server.stop(true) };
}

const loopback = /^(127\.\d+\.\d+\.\d+|::1|localhost)$/;

function checkBind(host: string, token: string | null, insecure: boolean): void {
  if (loopback.test(host)) return;
  if (token === null) {
    fail("usage", `Cannot listen on ${host} without a token: whoever reaches it could use this machine`, {
      hint: "Give --token-file or BRAID_TOKEN.",
    });
  }
  if (!insecure) {
    fail(
      "usage",
      `Cannot listen on ${host} by plain HTTP: requests are signed, but what they carry can be read on the way`,
      {
        hint: "Put a proxy with TLS in front of 127.0.0.1, or give --insecure-http.",
      },
    );
  }
}

/** Links are followed before a path is compared with the roots, and what was compared is what is opened. */
function reachOf(roots: readonly string[], hosts: readonly string[]): Reach {
  const real = roots.map((root) => {
    try {
      return realpathSync(root);
    } catch (e) {
      return fail("file-not-found", `Cannot allow ${quote(root)}: ${(e as { code?: string }).code ?? e}`);
    }
  });
  const within = (path: string, root: string) => path.startsWith(root.endsWith(sep) ? root : root + sep);
  return {
    roots: real,
    ...(real.length === 0
      ? {}
      : {
          openPath(path: string) {
            const found = attempt(() => realpathSync(resolve(path)));
            if (found === undefined || !real.some((root) => within(found, root)))
              throw new LocatorError(403, "the path is not below an allowed root");
            return new FileSource(found);
          },
        }),
    hosts: hosts.map((h) => h.toLowerCase()),
    fetch: (url, init) => fetch(url, init),
    resolve: async (host) => (await lookup(host, { all: true })).map(({ address }) => address),
  };
}

export async function runServe(command: CommandOf<"serve">, context: Context): Promise<number> {
  const { out, err } = context.terminal;
  const token = readToken(command.tokenFile, context.env);
  checkBind(command.host, token, command.insecureHttp);
  const workers = command.workers ?? attempt(availableParallelism) ?? 1;
  const kernels = createThreadKernels(workers, nodeLimits.workerBytes);
  const app = createApp({
    kernels,
    token,
    reach: reachOf(command.allowRoot, command.allowHost),
    version,
    runtime: runtimeName(),
    clock: realClock(() => performance.now()),
    today: () => Date.now(),
  });
  let listener: Listener;
  try {
    listener = listen(command.host, command.port, (request, caller) => app.fetch(request, caller));
  } catch (e) {
    await kernels.close();
    const { code, message } = e as { code?: string; message: string };
    return fail("io", `Cannot listen on ${command.host} port ${command.port}: ${code ?? message}`);
  }
  const host = command.host.includes(":") ? `[${command.host}]` : command.host;
  const url = `http://${host}:${listener.port}`;
  if (command.json) out.write(`${JSON.stringify({ url, workers, kernel: kernels.sha256, token: token !== null })}\n`);
  else if (!command.quiet)
    out.write(`Node at ${url}, ${plural(workers, "worker")}, kernels ${kernels.sha256.slice(0, 12)}\n`);
  if (token === null && !command.quiet) {
    writeDiagnostic(err, "warning", {
      kind: "usage",
      message: "This node has no token: every program and user of this machine may use it",
    });
  }
  if (!context.signal.aborted)
    await new Promise((stop) => context.signal.addEventListener("abort", stop, { once: true }));
  await listener.stop();
  await kernels.close();
  return 0;
}

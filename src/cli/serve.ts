// `braid serve`: this machine as a node, on Bun and Deno.

import { lookup } from "node:dns/promises";
import { realpathSync } from "node:fs";
import { availableParallelism } from "node:os";
import { resolve, sep } from "node:path";
import { FileSource } from "../bytes/file.ts";
import { fail, quote } from "../errors.ts";
import { createApp } from "../remote/app.ts";
import { realClock } from "../remote/clock.ts";
import { nodeLimits } from "../remote/limits.ts";
import { LocatorError, type Reach } from "../remote/locate.ts";
import { tabRoutes } from "../remote/tab-wire.ts";
import type { TabReport } from "../remote/tabs.ts";
import { checkBind, originOf } from "./bind.ts";
import { createBrowserWorkers } from "./browser-workers.ts";
import { attempt, runtimeName } from "./environment.ts";
import { plural } from "./format.ts";
import { listen } from "./listen.ts";
import type { Context } from "./main.ts";
import { type CommandOf, version } from "./program.ts";
import { createThreadKernels } from "./serve-kernels.ts";
import { type Screen, writeDiagnostic } from "./terminal.ts";
import { readToken } from "./token.ts";

/** What was begun may take this long when the node is told to end. */
const drainMs = 10_000;

/** What a node may reach beyond its tasks: the options of `braid serve`. */
export interface Allowed {
  readonly roots: readonly string[];
  readonly writeRoots: readonly string[];
  readonly hosts: readonly string[];
  readonly origins: readonly URL[];
}

/** Links are followed before a path is compared with the roots, and what was compared is what is opened. */
export function reachOf({ roots, writeRoots, hosts, origins }: Allowed): Reach {
  const follow = (root: string) => {
    try {
      return realpathSync(root);
    } catch (e) {
      return fail("file-not-found", `Cannot allow ${quote(root)}: ${(e as { code?: string }).code ?? e}`);
    }
  };
  const [real, written] = [roots.map(follow), writeRoots.map(follow)];
  const within = (path: string, root: string) => path.startsWith(root.endsWith(sep) ? root : root + sep);
  const place = (path: string, write: boolean) => {
    const found = attempt(() => realpathSync(resolve(path)));
    if (found === undefined || !(write ? written : real).some((root) => within(found, root)))
      throw new LocatorError(403, `the path is not below a root that is allowed for ${write ? "writing" : "reading"}`);
    return found;
  };
  return {
    roots: real,
    writeRoots: written,
    ...(real.length === 0 ? {} : { place, openPath: (path: string) => new FileSource(place(path, false)) }),
    hosts: hosts.map((h) => h.toLowerCase()),
    origins: origins.map(({ origin }) => origin),
    fetch: (url, init) => fetch(url, init),
    resolve: async (host) => (await lookup(host, { all: true })).map(({ address }) => address),
  };
}

export async function runServe(command: CommandOf<"serve">, context: Context): Promise<number> {
  const { out, err } = context.terminal;
  const token = readToken(command.tokenFile, context.env);
  checkBind(command.host, token, command.insecureHttp);
  const workers = command.workers ?? attempt(availableParallelism) ?? 1;
  if (command.allowWriteRoot.length > 0 && command.allowRoot.length === 0) {
    fail("usage", "Cannot use --allow-write-root without --allow-root: a node writes what it has read itself", {
      hint: "Name the folder of the models with --allow-root.",
    });
  }
  const own = createThreadKernels(workers, nodeLimits.workerBytes);
  const browser = command.browserWorkers
    ? createBrowserWorkers(own, (report) => {
        if (!command.quiet || report.state === "banned") writeTab(err, report);
      })
    : null;
  const kernels = browser?.tabs ?? own;
  const app = createApp({
    kernels,
    token,
    reach: reachOf({
      roots: command.allowRoot,
      writeRoots: command.allowWriteRoot,
      hosts: command.allowHost,
      origins: command.allowCoordinator,
    }),
    version,
    runtime: runtimeName(),
    clock: realClock(() => performance.now()),
    today: () => Date.now(),
  });
  const listener = await listen(
    command.host,
    command.port,
    (request, caller) => browser?.serve(request) ?? app.fetch(request, caller),
    { sockets: browser?.sockets },
  ).catch(async (e) => {
    await kernels.close?.();
    throw e;
  });
  const url = originOf(command.host, listener.port);
  const page = browser ? `${url}${tabRoutes.page}#${browser.secret}` : null;
  if (command.json) {
    const tabs = page === null ? {} : { browserWorkers: page };
    out.write(`${JSON.stringify({ url, workers, kernel: kernels.sha256, token: token !== null, ...tabs })}\n`);
  } else if (!command.quiet) {
    out.write(`Node at ${url}, ${plural(workers, "worker")}, kernels ${kernels.sha256.slice(0, 12)}\n`);
    if (page !== null) out.write(`Browser workers: open ${page}\n`);
  }
  if (token === null && !command.quiet) {
    writeDiagnostic(err, "warning", {
      kind: "usage",
      message: "This node has no token: every program and user of this machine may use it",
    });
  }
  if (!context.signal.aborted)
    await new Promise((stop) => context.signal.addEventListener("abort", stop, { once: true }));
  // What was begun is answered; what comes now is told that this node ends, and goes elsewhere.
  await app.drain(drainMs);
  await listener.stop();
  await kernels.close?.();
  return 0;
}

/** A thread of a tab came or went. */
function writeTab(screen: Screen, { state, message, tasks, tabs }: TabReport): void {
  if (state === "banned") {
    const why = `A browser tab gave wrong bytes and is not believed any more: ${message}`;
    writeDiagnostic(screen, "warning", { kind: "node-answer", message: why });
  } else {
    const did = state === "left" ? ` after ${plural(tasks, "task")}` : "";
    screen.write(`note: a browser worker ${state}${did}, ${tabs} there now\n`);
  }
}

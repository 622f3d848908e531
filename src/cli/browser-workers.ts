// `braid serve --browser-workers`: the page, what it may load, and who may open a socket.

import { compileKernel } from "../kernel/kernel.ts";
import type { Caller } from "../remote/app.ts";
import { realClock } from "../remote/clock.ts";
import { createInlineKernels, type NodeKernels } from "../remote/kernels.ts";
import { frameOverhead, nodeLimits } from "../remote/limits.ts";
import { Refused } from "../remote/refusal.ts";
import { tabRoutes } from "../remote/tab-wire.ts";
import { createTabs, type TabReport, type Tabs } from "../remote/tabs.ts";
import type { Sockets } from "./sockets.ts";
import { tabFiles } from "./tab-files.ts";

const secretBytes = 32;
/** Of a host name in a policy: nothing that could end the directive. */
const plainHost = /^[\w.:[\]-]{1,255}$/;

const served: Readonly<Record<string, readonly [keyof typeof tabFiles, string]>> = {
  [tabRoutes.page]: ["page", "text/html; charset=utf-8"],
  [tabRoutes.style]: ["style", "text/css; charset=utf-8"],
  [tabRoutes.script]: ["script", "text/javascript; charset=utf-8"],
  [tabRoutes.thread]: ["thread", "text/javascript; charset=utf-8"],
};

export interface BrowserWorkers {
  readonly tabs: Tabs;
  readonly sockets: Sockets;
  /** Goes behind the # of the page's address: browsers send that to nobody. */
  readonly secret: string;
  /** The page and its parts; null: the request is for the node. */
  serve(request: Request): Response | null;
}

/** Only what comes from this node may be loaded, and only this node is spoken to. */
function policy(host: string): string {
  const sockets = plainHost.test(host) ? ` ws://${host} wss://${host}` : "";
  return [
    "default-src 'none'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "style-src 'self'",
    "img-src data:",
    `connect-src 'self'${sockets}`,
    "worker-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}

function servePage(request: Request): Response | null {
  const { pathname, host } = new URL(request.url);
  const found = Object.hasOwn(served, pathname) ? served[pathname]! : null;
  if (!found) return null;
  if (request.method !== "GET" && request.method !== "HEAD")
    return new Response(null, { status: 405, headers: { allow: "GET, HEAD" } });
  const [name, type] = found;
  return new Response(request.method === "HEAD" ? null : tabFiles[name], {
    headers: {
      "content-type": type,
      "content-security-policy": policy(host),
      "cross-origin-resource-policy": "same-origin",
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
      "cache-control": "no-store",
    },
  });
}

/** A socket is for the page of this node: a script of another site that a browser runs says where it is from. */
export function admitSocket(request: Request, _caller: Caller): Refused | null {
  const origin = request.headers.get("origin");
  const host = request.headers.get("host") ?? "";
  let same = false;
  try {
    same = origin !== null && new URL(origin).host === host;
  } catch {
    // No origin of the web.
  }
  return same ? null : new Refused(403, "denied", "only this node's own page works for it");
}

export function createBrowserWorkers(own: NodeKernels, report: (report: TabReport) => void): BrowserWorkers {
  const now = () => performance.now();
  const secret = [...crypto.getRandomValues(new Uint8Array(secretBytes))]
    .map((b) => b.toString(16).padStart(2, "0"))
    .join("");
  const tabs = createTabs({
    own,
    auditing: createInlineKernels({ module: compileKernel(), workerBytes: nodeLimits.workerBytes, now }),
    secret,
    limits: nodeLimits,
    clock: realClock(now),
    random: () => crypto.getRandomValues(new Uint32Array(1))[0]! / 2 ** 32,
    report,
  });
  const sockets: Sockets = {
    path: tabRoutes.socket,
    maxBytes: nodeLimits.sliceBytes + frameOverhead(nodeLimits),
    admit: admitSocket,
    open: (socket) => tabs.open(socket),
  };
  return { tabs, sockets, secret, serve: servePage };
}

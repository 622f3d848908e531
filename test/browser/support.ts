// A Chromium for tests, and a host for static files as plain as any. Where there is no Chromium, tests say so and are skipped.

import { closeSync, existsSync, fstatSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { type BrowserContext, chromium, type Page } from "playwright-core";

/** Debian's; another one by BRAID_CHROMIUM. */
export const chromiumPath = process.env.BRAID_CHROMIUM ?? "/usr/bin/chromium";
export const noBrowser = existsSync(chromiumPath) ? null : `there is no ${chromiumPath}`;

/** Builds the playground into `outDir`, as `npm run build:playground` does into dist/playground. */
export async function buildSite(outDir: string): Promise<readonly { name: string; bytes: number }[]> {
  const script = fileURLToPath(new URL("../../tools/playground.mjs", import.meta.url));
  const { buildPlayground } = (await import(script)) as {
    buildPlayground(outDir: string): Promise<readonly { name: string; bytes: number }[]>;
  };
  return buildPlayground(outDir);
}

const types: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".json": "application/json",
};

export interface Site {
  readonly url: string;
  /** Paths that were asked for, with the ranges. */
  readonly asked: { readonly path: string; readonly range: string | undefined }[];
  close(): Promise<void>;
}

/** What a request is answered with instead of the file, for tests of hosts that are not as they should be. */
export type Answer = (request: IncomingMessage, response: ServerResponse, path: string) => boolean;

/** Serves files below `folders` (the first that has one) on loopback, with ranges and without any header that isolates pages. */
export async function serveFiles(folders: readonly string[], answer: Answer = () => false): Promise<Site> {
  const asked: { path: string; range: string | undefined }[] = [];
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url!, "http://localhost").pathname)).replace(/^\/+/, "");
    asked.push({ path, range: request.headers.range });
    if (answer(request, response, path)) return;
    const file = folders.map((folder) => join(folder, path || "index.html")).find((each) => existsSync(each));
    if (!file || path.includes("..")) {
      response.writeHead(404).end();
      return;
    }
    sendFile(file, request.headers.range, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    asked,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function sendFile(file: string, range: string | undefined, response: ServerResponse): void {
  const fd = openSync(file, "r");
  try {
    const { size, mtimeMs } = fstatSync(fd);
    const found = /^bytes=(\d+)-(\d+)$/.exec(range ?? "");
    const start = found ? Number(found[1]) : 0;
    const end = found ? Math.min(Number(found[2]) + 1, size) : size;
    const body = Buffer.alloc(end - start);
    readSync(fd, body, 0, body.length, start);
    response.writeHead(found ? 206 : 200, {
      "content-type": types[extname(file)] ?? "application/octet-stream",
      "content-length": body.length,
      "accept-ranges": "bytes",
      etag: `"${size}-${mtimeMs}"`,
      ...(found ? { "content-range": `bytes ${start}-${end - 1}/${size}` } : {}),
    });
    response.end(body);
  } finally {
    closeSync(fd);
  }
}

export interface Browser {
  readonly profile: string;
  readonly context: BrowserContext;
  readonly page: Page;
  /** Addresses of other hosts that anything in the browser, workers included, asked for. */
  readonly foreign: string[];
  /** What the console said as an error, and what nobody caught. */
  readonly errors: string[];
  close(): Promise<void>;
}

/** All that does not go to this machine goes here, and no further. */
async function openTrap(): Promise<{ readonly port: number; readonly foreign: string[]; close(): void }> {
  const foreign: string[] = [];
  const server = createServer((request, response) => {
    foreign.push(request.url ?? "");
    response.writeHead(502).end();
  });
  server.on("connect", (request, socket) => {
    foreign.push(request.url ?? "");
    socket.end("HTTP/1.1 502 Bad Gateway\r\n\r\n");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { port: (server.address() as AddressInfo).port, foreign, close };
}

/** A new browser, with its profile in a folder of its own. Whatever it asks of other hosts is noted and does not leave this machine. */
export async function openBrowser(
  profile: string,
  options: { dark?: boolean; width?: number; args?: string[] } = {},
): Promise<Browser> {
  const trap = await openTrap();
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: chromiumPath,
    headless: true,
    args: ["--no-sandbox", `--proxy-server=127.0.0.1:${trap.port}`, ...(options.args ?? [])],
    viewport: { width: options.width ?? 1280, height: 900 },
    colorScheme: options.dark ? "dark" : "light",
    acceptDownloads: true,
  });
  const page = context.pages()[0] ?? (await context.newPage());
  page.setDefaultTimeout(60_000);
  const errors: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(message.text());
  });
  page.on("pageerror", (error) => errors.push(String(error)));
  const close = async () => {
    await context.close();
    trap.close();
  };
  return { profile, context, page, foreign: trap.foreign, errors, close };
}

export interface PageSummary {
  readonly sha256: string;
  readonly plannedMebibytes: number;
  /** What the page shows of the merge. */
  readonly text: string;
}

/** What the page says of the merge that it began last, once that is over; throws it when it failed, and how far it came when it hangs. */
export async function endOfMerge(page: Page, timeout = 60_000): Promise<string> {
  const status = page.locator('#merge-status[data-kind="done"], #merge-status[data-kind="error"]');
  await status.waitFor({ timeout }).catch(async () => {
    const shown = page.locator("#merge-status, #progress-text, #models-status, #recipe-status");
    throw new Error(`The merge did not end: the page says ${JSON.stringify(await shown.allTextContents())}`);
  });
  const text = (await status.textContent()) ?? "";
  if ((await status.getAttribute("data-kind")) === "error") throw new Error(text);
  return text;
}

/** Merges what the page holds into the browser's own files; throws what the page says when that fails. */
export async function mergeInPage(page: Page, out: string, timeout = 60_000): Promise<PageSummary> {
  await page.getByLabel("Name of the output").fill(out);
  // By key: on a starved machine some clicks by mouse began no merge. Why was not seen; the plan, when it comes late, moves the button.
  await page.getByRole("button", { name: "Merge", exact: true }).press("Enter");
  const said = await endOfMerge(page, timeout);
  const text = `${said} ${await page.locator("#result").innerText()}`;
  return {
    sha256: (await page.locator("#result .hash").first().textContent()) ?? "",
    plannedMebibytes: Number(/Memory planned\s*(\d+) MiB/.exec(text)?.[1]),
    text,
  };
}

/** The largest resident set that a process of pages of this browser ever had, in bytes (Linux: VmHWM). Workers are in it. */
export function peakOfRenderer({ profile }: Browser): number {
  let peak = 0;
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      if (!command.includes("--type=renderer") || !command.includes(profile)) continue;
      const kilobytes = Number(/^VmHWM:\s*(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
      peak = Math.max(peak, kilobytes * 1024);
    } catch {
      // It ended meanwhile.
    }
  }
  return peak;
}

interface AxeResult {
  readonly violations: readonly {
    readonly id: string;
    readonly nodes: readonly { readonly html: string; readonly failureSummary?: string }[];
  }[];
}

/** What axe-core finds on the page as it is, one line an element. */
export async function axeViolations(page: Page): Promise<string[]> {
  const script = readFileSync(fileURLToPath(import.meta.resolve("axe-core/axe.min.js")), "utf8");
  // Evaluated by the debugger, which no policy of the page stops.
  await page.evaluate(script);
  const { violations } = await page.evaluate(() =>
    (globalThis as unknown as { axe: { run(): Promise<AxeResult> } }).axe.run(),
  );
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html}: ${failureSummary}`),
  );
}

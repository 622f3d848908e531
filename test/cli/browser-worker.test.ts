// Browser workers for real: `braid serve --browser-workers` on Bun and Deno, its page in Chromium, a merge through that node.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { axeViolations, type Browser, noBrowser, openBrowser } from "../browser/support.ts";
import { bunProgram, denoProgram, inFolder, root, start } from "./braid.ts";

const token = "a token of at least thirty-two bytes";
const env = { BRAID_TOKEN: token };
const lifeMs = 100_000;
const children: ChildProcess[] = [];

interface Node {
  readonly url: string;
  readonly page: string;
  readonly child: ChildProcess;
  readonly err: () => string;
}

function serve(program: readonly string[]): Promise<Node> {
  const [command, ...first] = program;
  const kept = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => ["PATH", "HOME", "DENO_DIR"].includes(name)),
  );
  const args = ["serve", "--port", "0", "--workers", "1", "--json", "--browser-workers"];
  const child = spawn(command!, [...first, ...args], {
    cwd: root,
    env: { ...kept, ...env } as NodeJS.ProcessEnv,
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  const life = setTimeout(() => child.kill("SIGKILL"), lifeMs);
  child.on("exit", () => clearTimeout(life));
  return new Promise((resolve, reject) => {
    let [out, err] = ["", ""];
    child.stderr!.on("data", (text) => {
      err += text;
    });
    child.stdout!.on("data", (text) => {
      out += text;
      if (!out.includes("\n")) return;
      const { url, browserWorkers } = JSON.parse(out);
      resolve({ url, page: browserWorkers, child, err: () => err });
    });
    child.on("exit", (code) => reject(new Error(`the node ended with ${code}: ${err}`)));
  });
}

const hash = (out: string) =>
  createHash("sha256")
    .update(readFileSync(join(out, "model.safetensors")))
    .digest("hex");
const merge = (out: string, args: readonly string[] = []) =>
  start(["merge", "examples/dare-ties.yml", out, "--json", "--slice", "4096", ...args], { env });

describe.skipIf(noBrowser !== null)(`browser workers${noBrowser ? ` (skipped: ${noBrowser})` : ""}`, () => {
  const profile = mkdtempSync(join(tmpdir(), "braid-worker-"));
  let browser: Browser;
  let nodes: Node[] = [];
  let alone = "";
  beforeAll(async () => {
    const deno = existsSync(denoProgram[0]!) ? denoProgram : bunProgram;
    nodes = await Promise.all([serve(bunProgram), serve(deno)]);
    browser = await openBrowser(profile);
    alone = await inFolder(async (folder) => {
      expect((await merge(join(folder, "out"))).exit).toBe(0);
      return hash(join(folder, "out"));
    });
  });
  afterAll(async () => {
    await browser?.close();
    for (const child of children) child.kill("SIGKILL");
    rmSync(profile, { recursive: true, force: true });
  });

  const state = (text: string, page = browser.page) =>
    page.locator("#state").getByText(text, { exact: true }).waitFor();
  const tasksOf = async (page = browser.page) =>
    Number((await page.locator("#tasks").textContent())!.replaceAll(",", ""));

  for (const [i, runtime] of ["Bun", "Deno"].entries()) {
    test(`a tab joins a node on ${runtime} and does a part of a merge: the same bytes`, () =>
      inFolder(async (folder) => {
        const { url, page } = nodes[i]!;
        await browser.page.goto(page);
        await state("Joined");
        // The secret is out of sight, and not in what a reload sends.
        expect(browser.page.url()).toBe(`${url}/worker`);
        const { exit, err } = await merge(join(folder, "out"), ["--node", url, "--workers", "0"]);
        expect([exit, err]).toEqual([0, expect.any(String)]);
        expect(hash(join(folder, "out"))).toBe(alone);
        await browser.page.waitForTimeout(600);
        // Its test merge is one.
        expect(await tasksOf()).toBeGreaterThan(5);
        expect([browser.errors, browser.foreign.filter((f) => !/google/.test(f))]).toEqual([[], []]);
      }));
  }

  test("a tab that is closed during a merge changes nothing", () =>
    inFolder(async (folder) => {
      const { url, page } = nodes[0]!;
      const tab = await browser.context.newPage();
      await tab.goto(page);
      await state("Joined", tab);
      const running = merge(join(folder, "out"), ["--node", url, "--workers", "0"]);
      while ((await tasksOf(tab)) < 3) await tab.waitForTimeout(20);
      await tab.close();
      expect([(await running).exit, hash(join(folder, "out"))]).toEqual([0, alone]);
      expect(nodes[0]!.err()).toContain("a browser worker left after");
    }));

  test("the button stops and starts it, and a page without the secret is told so", async () => {
    const { page } = browser;
    await page.goto(nodes[0]!.page);
    await state("Joined");
    await page.getByRole("button", { name: "Stop" }).click();
    await state("Stopped");
    await page.getByRole("button", { name: "Start" }).click();
    await state("Joined");
    const other = await browser.context.newPage();
    await other.goto(`${nodes[0]!.url}/worker`);
    await state("Not taken", other);
    await other.goto(`${nodes[0]!.url}/worker#${"0".repeat(64)}`);
    await other.locator("#detail").getByText("open the address that braid serve printed", { exact: false }).waitFor();
    await other.close();
  });

  test("axe finds nothing, in light, dark and narrow", async () => {
    const { page } = browser;
    await page.goto(nodes[0]!.page);
    await state("Joined");
    for (const [colorScheme, width] of [
      ["light", 1280],
      ["dark", 1280],
      ["dark", 320],
    ] as const) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 800 });
      expect(await axeViolations(page)).toEqual([]);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      expect(overflow).toBe(false);
    }
  });

  test("scripts of other sites cannot open a socket, and the page keeps to its own host", async () => {
    const { url } = nodes[0]!;
    const upgrade = (origin: string | null) =>
      fetch(`${url}/worker/socket`, {
        headers: {
          upgrade: "websocket",
          connection: "upgrade",
          "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
          "sec-websocket-version": "13",
          ...(origin === null ? {} : { origin }),
        },
      });
    for (const origin of ["http://evil.example", "null", null]) expect((await upgrade(origin)).status).toBe(403);
    const { headers } = await fetch(`${url}/worker`);
    const policy = headers.get("content-security-policy")!;
    for (const part of ["default-src 'none'", "frame-ancestors 'none'", "worker-src 'self'"])
      expect(policy).toContain(part);
    expect(policy).not.toMatch(/\*|unsafe-inline|'unsafe-eval'|https:/);
    expect((await fetch(`${url}/worker`, { method: "POST" })).status).toBe(405);
  });
});

test("a node without --browser-workers has no page", async () => {
  const { createApp } = await import("../../src/remote/app.ts");
  const { kernels, clock } = await import("../remote/fixture.ts");
  const app = createApp({ kernels, token: null, version: "test", runtime: "test", clock, today: () => 0 });
  expect((await app.request("/worker")).status).toBe(404);
});

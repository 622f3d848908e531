// The playground in a real Chromium, as it is built and as a plain host serves it.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import {
  closeSync,
  cpSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { merge } from "../../src/merge.ts";
import { layoutShards } from "../../src/tensor/shards.ts";
import { requestFor, testHost } from "../support/host.ts";
import {
  axeViolations,
  type Browser,
  buildSite,
  endOfMerge,
  mergeInPage,
  noBrowser,
  openBrowser,
  peakOfRenderer,
  type Site,
  serveFiles,
} from "./support.ts";

/** README's: `npm run demo`. */
const demoSha256 = "bf3cf7b70bca04623118525d3fc0edbc3741a41e32417cbaf2dd2967e09954ce";

/** What Chromium asks its maker by itself, whatever the page. */
const browsersOwn =
  /^(https?:\/\/)?(update|content-autofill|optimizationguide-pa|safebrowsing)\.googleapis\.com|^accounts\.google\.com:/;

const root = join(import.meta.dirname, "../..");
const demoText = readFileSync(join(root, "examples/dare-ties.yml"), "utf8");
const folder = mkdtempSync(join(tmpdir(), "braid-playground-"));
let site: Site;
let browser: Browser;

/** What a tab takes beside the plan's budget, which begins at nothing: the engine, the page and its pictures. */
const tabMebibytes = 230;

/** A checkpoint of one matrix of 256 MiB with few numbers that are not zero; on a disk it takes almost nothing. */
function makeSparse(path: string, seed: number): string {
  mkdirSync(path);
  const shape = [16_384, 8_192];
  const [layout] = layoutShards([{ name: "model.layers.0.mlp.up_proj.weight", dtype: "BF16", shape }], {
    shardBytes: Number.MAX_SAFE_INTEGER,
  });
  const file = openSync(join(path, "model.safetensors"), "w");
  ftruncateSync(file, layout!.byteLength);
  writeSync(file, layout!.header, 0, layout!.header.length, 0);
  for (let i = 0; i < 64; i++) {
    const values = Uint16Array.from({ length: 2_048 }, (_, j) => 0x3c00 + ((i * 37 + j * (seed + 3)) & 0x3ff));
    writeSync(file, new Uint8Array(values.buffer), 0, 4_096, layout!.header.length + i * 4_194_304 - (i % 2) * 2);
  }
  closeSync(file);
  return path;
}

/** The SHA-256 of what this side of the browser makes of a recipe's text. */
async function mergeHere(recipe: string, out: string): Promise<string> {
  const text = readFileSync(recipe, "utf8");
  const request = requestFor(text, { recipe: { text, file: recipe, folder } });
  const { files } = await merge(request, out, { overwrite: false }, testHost({ cwd: join(root, "examples") }));
  return files[0]!.sha256!;
}

/** Asks for the demo's recipe and waits until the page holds it: it comes from the host. */
async function takeDemoRecipe(page: Page): Promise<void> {
  await page.getByRole("button", { name: "The demo's recipe" }).click();
  await page.waitForFunction((text) => document.querySelector<HTMLTextAreaElement>("#yaml")!.value === text, demoText);
}

/** Names and digests of the files in a folder of the browser's own file system. */
function filesIn(page: Page, path: string): Promise<Record<string, string>> {
  return page.evaluate(async (path) => {
    let folder = await navigator.storage.getDirectory();
    for (const part of path.split("/")) folder = await folder.getDirectoryHandle(part);
    const found: [string, string][] = [];
    for await (const entry of (folder as unknown as { values(): AsyncIterable<FileSystemFileHandle> }).values()) {
      const digest = await crypto.subtle.digest("SHA-256", await (await entry.getFile()).arrayBuffer());
      found.push([entry.name, [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("")]);
    }
    return Object.fromEntries(found.sort(([a], [b]) => (a < b ? -1 : 1)));
  }, path);
}

/** Folders of outputs, finished or not. */
function privateFolders(page: Page): Promise<string[]> {
  return page.evaluate(async () => {
    const outputs = await (await navigator.storage.getDirectory()).getDirectoryHandle("braid-outputs");
    const names: string[] = [];
    for await (const name of (outputs as unknown as { keys(): AsyncIterable<string> }).keys()) names.push(name);
    return names.sort();
  });
}

/** Begins a merge, stops it while it runs, and looks for what it left. */
async function stopMidway(page: Page): Promise<void> {
  await page.getByLabel("Name of the output").fill("stopped");
  await page.getByRole("button", { name: "Merge", exact: true }).click();
  await page.waitForFunction(() => (document.querySelector("#progress") as HTMLProgressElement).value > 0.05);
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByText("Stopped: nothing of the output was kept").waitFor();
  expect(await privateFolders(page)).toEqual([]);
}

describe.skipIf(noBrowser !== null)(`the playground${noBrowser ? ` (skipped: ${noBrowser})` : ""}`, () => {
  beforeAll(async () => {
    await buildSite(join(folder, "site"));
    site = await serveFiles([join(folder, "site")], (_, response, path) => {
      if (path !== "whole/model.safetensors") return false;
      response.writeHead(200, { "content-length": 1 << 20 });
      response.end(Buffer.alloc(1 << 20));
      return true;
    });
    browser = await openBrowser(join(folder, "profile"));
    await browser.page.goto(site.url);
    await browser.page.getByText("39 tensors", { exact: false }).waitFor();
  });
  afterAll(async () => {
    await browser?.close();
    await site?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test("merges the demo's models into the bytes that the command line writes", async () => {
    const { page } = browser;
    const { sha256, text } = await mergeInPage(page, "demo");
    expect(text).toContain("Merged 39 tensors");
    expect(sha256).toBe(demoSha256);
  });

  test("hands the file out as it was merged", async () => {
    const { page } = browser;
    await page.getByText("Files of demo").click();
    const coming = page.waitForEvent("download");
    await page.getByRole("button", { name: "model.safetensors" }).click();
    const bytes = readFileSync((await (await coming).path())!);
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(demoSha256);
  });

  test("shows what the merged models can do: the accuracies that the README gives, of the same prompts", async () => {
    const { page } = browser;
    await page.getByText("900 prompts, answered here by the merged model", { exact: false }).waitFor();
    const bars = await page.locator("#look svg[aria-label='Exact answers by task'] desc").textContent();
    expect(bars).toBe("add: 98 % of 300 prompts; rev: 97 % of 300 prompts; sort: 98 % of 300 prompts");
  });

  test("shows at once what another drop rate leaves", async () => {
    const { page } = browser;
    const left = async () =>
      Number(
        /changed, ([\d.]+) % are left/.exec((await page.locator("#look .facts").allTextContents()).join(" "))?.[1],
      );
    expect(await left()).toBeCloseTo(9.5, 0);
    await page.getByLabel("Drop rate p, as a number").fill("0.5");
    await page.getByText(/changed, 4\d\.\d % are left/).waitFor();
    // 95.6 % of the elements changed at all.
    expect(Math.abs((await left()) - 47.8)).toBeLessThan(1);
    expect(await page.locator("#yaml").inputValue()).toContain("drop_rate: 0.5");
    await takeDemoRecipe(page);
    await page.getByText(/changed, 9\.\d % are left/).waitFor();
  });

  test("says what is wrong with a recipe in Braid's words, with its place", async () => {
    const { page } = browser;
    const text = await page.locator("#yaml").inputValue();
    await page.locator("#yaml").fill(text.replace("drop_rate: 0.9", "drop_rate: 1"));
    const status = page.locator("#recipe-status[data-kind=error]");
    await status.waitFor();
    expect(await status.textContent()).toMatch(/^recipe\.yml:13:14: .*drop_rate/);
    await takeDemoRecipe(page);
    await status.waitFor({ state: "detached" });
  });

  test("what it exports, the command line merges into the same bytes", async () => {
    const { page } = browser;
    await page.getByLabel("Method").selectOption("ties");
    await page.getByLabel("Density, as a number").fill("0.3");
    await page.getByLabel("Weight of models/ft-rev, as a number").fill("0.45");
    const coming = page.waitForEvent("download");
    await page.getByRole("button", { name: "Export" }).click();
    const recipe = join(folder, "exported.yml");
    await (await coming).saveAs(recipe);
    const { sha256 } = await mergeInPage(page, "exported");
    expect(sha256).toBe(await mergeHere(recipe, join(folder, "exported")));
    await page.locator("#recipe-input").setInputFiles(join(root, "examples/task-arithmetic.yml"));
    // Not for a control: TIES has the same ones.
    await page.waitForFunction(() => document.querySelector<HTMLSelectElement>("#method")!.value === "task_arithmetic");
    expect(await page.getByLabel("Scale λ, as a number").inputValue()).toBe("0.6");
    await takeDemoRecipe(page);
  });

  test("writes into a folder: complete files, and nothing there before", async () => {
    const { page } = browser;
    // No test can answer the browser's own dialogue; what it answers is a handle like this one.
    await page.evaluate(async () => {
      const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("picked", { create: true });
      Object.assign(window, { showDirectoryPicker: async () => folder });
    });
    await page.getByLabel("Into a folder of mine").check();
    await page.getByRole("button", { name: "Choose the folder…" }).click();
    await page.getByText("picked/").waitFor();
    expect((await mergeInPage(page, "in-folder")).sha256).toBe(demoSha256);
    const files = await filesIn(page, "picked/in-folder");
    expect(Object.keys(files)).toEqual([
      "README.md",
      "braid.json",
      "config.json",
      "generation_config.json",
      "mergekit_config.yml",
      "model.safetensors",
      "special_tokens_map.json",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    expect(files["model.safetensors"]).toBe(demoSha256);
    await expect(mergeInPage(page, "in-folder")).rejects.toThrow("it exists");
    expect(await filesIn(page, "picked/in-folder")).toEqual(files);
    await page.getByLabel("Into this browser, to download").check();
  });

  test("leaves nothing of a merge that fails", async () => {
    const { page } = browser;
    const text = await page.locator("#yaml").inputValue();
    // A value that does not fit f16 is found while it merges, after the output was staged.
    const large = text.replaceAll("0.7", "1000000").replace("bfloat16", "float16");
    await page.locator("#yaml").fill(large);
    await expect(mergeInPage(page, "fails")).rejects.toThrow("too large for it");
    expect(await page.locator("#kept-list").innerText()).not.toContain("fails");
    expect(await privateFolders(page)).toEqual(["demo~1", "exported~1"]);
    await takeDemoRecipe(page);
  });

  test("reads a model behind an address by ranges, and refuses a host without them", async () => {
    const { page } = browser;
    await page.getByRole("button", { name: "Remove models/ft-sort" }).click();
    await page.locator("#url").fill(`${site.url}models/ft-sort`);
    await page.getByRole("button", { name: "Add", exact: true }).click();
    await page.locator("#model-list").getByText("ft-sort", { exact: true }).waitFor();
    const text = await page.locator("#yaml").inputValue();
    await page.locator("#yaml").fill(text.replace("models/ft-sort", "ft-sort"));
    const before = site.asked.length;
    const { sha256 } = await mergeInPage(page, "by-address");
    const asked = site.asked.slice(before).filter(({ path }) => path === "models/ft-sort/model.safetensors");
    expect(asked.length).toBeGreaterThan(0);
    expect(asked.every(({ range }) => range !== undefined)).toBe(true);
    const recipe = join(folder, "address.yml");
    writeFileSync(recipe, await page.locator("#yaml").inputValue());
    mkdirSync(join(folder, "ft-sort"));
    cpSync(join(root, "examples/models/ft-sort"), join(folder, "ft-sort"), { recursive: true });
    expect(sha256).toBe(await mergeHere(recipe, join(folder, "by-address")));
    await page.locator("#url").fill(`${site.url}whole/model.safetensors`);
    await page.getByRole("button", { name: "Add", exact: true }).click();
    await page.getByText("does not answer ranges").waitFor();
    await page.getByRole("button", { name: "Remove ft-sort" }).click();
    await page.getByRole("button", { name: "Example models" }).click();
    await takeDemoRecipe(page);
  });

  test("takes a folder that is dropped", async () => {
    const { page } = browser;
    const client = await browser.context.newCDPSession(page);
    await page.locator("#drop").scrollIntoViewIfNeeded();
    const { x, y } = (await page.locator("#drop").boundingBox())!;
    const data = { items: [], files: [join(root, "examples/models/tied-base")], dragOperationsMask: 1 };
    for (const type of ["dragEnter", "dragOver", "drop"] as const) {
      await client.send("Input.dispatchDragEvent", { type, x: x + 20, y: y + 20, data });
    }
    await page.locator("#model-list").getByText("tied-base", { exact: true }).waitFor();
    expect(await page.locator("#model-list li", { hasText: "tied-base" }).innerText()).toContain("6 files");
    await page.getByRole("button", { name: "Remove tied-base" }).click();
  });

  test("merges files larger than the memory it may take", async () => {
    const other = await openBrowser(join(folder, "profile-large"));
    try {
      const { page } = other;
      await page.goto(site.url);
      for (const [i, name] of ["large-base", "large-a", "large-b"].entries()) {
        await page.locator("#folder-input").setInputFiles(makeSparse(join(folder, name), i));
        await page.locator("#model-list").getByText(name, { exact: true }).waitFor();
      }
      const recipe = join(folder, "large.yml");
      const models = ["large-a", "large-b"]
        .map((name) => `  - model: ${name}\n    parameters: { weight: 0.5 }\n`)
        .join("");
      const text = `merge_method: task_arithmetic\nbase_model: large-base\nmodels:\n${models}dtype: bfloat16\n`;
      writeFileSync(recipe, text);
      await page.locator("#yaml").fill(text);
      await stopMidway(page);
      const { sha256, plannedMebibytes } = await mergeInPage(page, "large", 110_000);
      // Every one of the three inputs, and the output, is a tensor of 256 MiB.
      if (process.platform === "linux") {
        expect(peakOfRenderer(other)).toBeLessThan((plannedMebibytes + tabMebibytes) * 2 ** 20);
      }
      expect(sha256).toBe(await mergeHere(recipe, join(folder, "large")));
    } finally {
      await other.close();
    }
  });

  /** Merges the demo in a browser whose workers of those names begin with a script of the test's. */
  async function mergeBehind(script: string, workers: RegExp, planned: string): Promise<string> {
    const other = await serveFiles([join(folder, "site")], (_, response, path) => {
      if (!workers.test(path)) return false;
      response.writeHead(200, { "content-type": "text/javascript" });
      response.end(script + readFileSync(join(folder, "site", path), "utf8"));
      return true;
    });
    const browser = await openBrowser(mkdtempSync(join(folder, "profile-")));
    try {
      await browser.page.goto(other.url);
      await browser.page.getByText(planned, { exact: false }).waitFor();
      return (await mergeInPage(browser.page, "alone")).sha256;
    } finally {
      await browser.close();
      await other.close();
    }
  }

  test("merges with one worker where no two may hold a file open, into the same bytes", async () => {
    // As Firefox and Safari are: their files have no mode but an exclusive one.
    const exclusive = `{ const make = FileSystemFileHandle.prototype.createSyncAccessHandle;
      FileSystemFileHandle.prototype.createSyncAccessHandle = function (options) {
        return options ? Promise.reject(new TypeError("mode")) : make.call(this); }; }`;
    const workers = /^assets\/(coordinator|merge-worker|hash-worker)-/;
    expect(await mergeBehind(exclusive, workers, "1 worker.")).toBe(demoSha256);
  });

  test("hashes though the browser lets the worker for it wait for its file for ever", async () => {
    const hanging = "FileSystemFileHandle.prototype.createSyncAccessHandle = () => new Promise(() => {});";
    expect(await mergeBehind(hanging, /^assets\/hash-worker-/, "39 tensors")).toBe(demoSha256);
  });

  test("can be used by keyboard: a slider keeps its focus while it moves, Enter merges", async () => {
    const { page } = browser;
    const slider = page.getByRole("slider", { name: "Drop rate p" });
    await slider.focus();
    for (const key of ["ArrowLeft", "ArrowLeft", "ArrowRight"]) await page.keyboard.press(key);
    expect(await page.locator("#yaml").inputValue()).toContain("drop_rate: 0.89");
    expect(await slider.evaluate((element) => element === document.activeElement)).toBe(true);
    await page.keyboard.press("Tab");
    await page.keyboard.press("Control+A");
    await page.keyboard.type("0.9");
    expect(await page.locator("#yaml").inputValue()).toContain("drop_rate: 0.9\n");
    // With no pointer: every control before it can be passed, and the form is sent from its field.
    await page.getByLabel("Name of the output").fill("by-keyboard");
    await page.keyboard.press("Enter");
    await endOfMerge(page);
    await page.locator("#kept-list").getByText("by-keyboard", { exact: true }).waitFor();
    expect(await page.locator("#merge-status").getAttribute("role")).toBe("status");
  });

  for (const scheme of ["light", "dark"] as const) {
    test(`has no violation that axe finds, in ${scheme} colours`, async () => {
      const { page } = browser;
      await page.emulateMedia({ colorScheme: scheme });
      expect(await axeViolations(page)).toEqual([]);
    });
  }

  test("asked no other host for anything, and nothing went wrong unseen", async () => {
    expect(site.asked.length).toBeGreaterThan(20);
    expect(browser.foreign.filter((address) => !browsersOwn.test(address))).toEqual([]);
    // A host says 404 to the names that a model behind an address does not have.
    expect(browser.errors.filter((error) => !error.includes("404"))).toEqual([]);
    // The trap works: another page's request is seen in it.
    const other = await browser.context.newPage();
    await other.goto("http://elsewhere.test/").catch(() => {});
    await other.close();
    expect(browser.foreign.some((address) => address.includes("elsewhere.test"))).toBe(true);
  });
});

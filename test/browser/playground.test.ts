// The playground in a real Chromium, as it is built and as a plain host serves it.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { axeViolations, type Browser, buildSite, noBrowser, openBrowser, type Site, serveFiles } from "./support.ts";

/** README's: `npm run demo`. */
const demoSha256 = "bf3cf7b70bca04623118525d3fc0edbc3741a41e32417cbaf2dd2967e09954ce";

/** What Chromium asks its maker by itself, whatever the page. */
const browsersOwn =
  /^(https?:\/\/)?(update|content-autofill|optimizationguide-pa|safebrowsing)\.googleapis\.com|^accounts\.google\.com:/;

const folder = mkdtempSync(join(tmpdir(), "braid-playground-"));
let site: Site;
let browser: Browser;

describe.skipIf(noBrowser !== null)(`the playground${noBrowser ? ` (skipped: ${noBrowser})` : ""}`, () => {
  beforeAll(async () => {
    await buildSite(join(folder, "site"));
    site = await serveFiles([join(folder, "site")]);
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
    await page.getByLabel("Name of the output").fill("demo");
    await page.getByRole("button", { name: "Merge", exact: true }).click();
    await page.getByText("Merged 39 tensors", { exact: false }).waitFor();
    expect(await page.locator("#result .hash").first().textContent()).toBe(demoSha256);
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
    await page.getByRole("button", { name: "The demo's recipe" }).click();
    await page.getByText(/changed, 9\.\d % are left/).waitFor();
  });

  test("says what is wrong with a recipe in Braid's words, with its place", async () => {
    const { page } = browser;
    const text = await page.locator("#yaml").inputValue();
    await page.locator("#yaml").fill(text.replace("drop_rate: 0.9", "drop_rate: 1"));
    const status = page.locator("#recipe-status[data-kind=error]");
    await status.waitFor();
    expect(await status.textContent()).toMatch(/^recipe\.yml:13:14: .*drop_rate/);
    await page.getByRole("button", { name: "The demo's recipe" }).click();
    await status.waitFor({ state: "detached" });
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
    expect(browser.errors).toEqual([]);
    // The trap works: another page's request is seen in it.
    const other = await browser.context.newPage();
    await other.goto("http://elsewhere.test/").catch(() => {});
    await other.close();
    expect(browser.foreign.some((address) => address.includes("elsewhere.test"))).toBe(true);
  });
});

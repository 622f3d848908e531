// The report in a real Chromium: no violations of axe-core, nothing cut off on a narrow screen, nothing asked of anybody.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, chromium } from "playwright-core";
import { reportPage } from "../../src/report-page/page.ts";
import { heatMap, standalone } from "../../src/svg/index.ts";
import { referenceNames, syntheticFacts } from "../report-page/synthetic.ts";
import { chromiumPath, noBrowser } from "./support.ts";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const folder = mkdtempSync(join(tmpdir(), "braid-report-page-"));
const file = join(folder, "report.html");
/** The same sections with few layers: axe-core takes its time for every cell. */
const short = join(folder, "short.html");
let browser: Browser;

interface Violation {
  readonly id: string;
  readonly nodes: readonly { readonly html: string; readonly failureSummary?: string }[];
}

describe.skipIf(noBrowser !== null)(`the report${noBrowser ? ` (skipped: ${noBrowser})` : ""}`, () => {
  beforeAll(async () => {
    writeFileSync(file, reportPage(syntheticFacts()));
    writeFileSync(short, reportPage(syntheticFacts(referenceNames, 2)));
    browser = await chromium.launch({ executablePath: chromiumPath, headless: true, args: ["--no-sandbox"] });
  });
  afterAll(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  // Rules but those of colour do not see whether it is light or dark.
  const screens = [
    ["light", 390, []],
    ["dark", 1100, ["color-contrast"]],
  ] as const;
  test.each(screens)(
    "in %s at %i pixels has no violations of axe-core, and asks nobody for anything",
    async (scheme, width, rules) => {
      // The page's own policy forbids the script that looks at it.
      const context = await browser.newContext({
        viewport: { width, height: 900 },
        colorScheme: scheme,
        bypassCSP: true,
      });
      const asked: string[] = [];
      context.on("request", (request) => asked.push(request.url()));
      const page = await context.newPage();
      await page.goto(pathToFileURL(short).href);
      for (const details of await page.locator("details").all())
        await details.evaluate((d) => d.setAttribute("open", ""));
      const wider = await page.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
      );
      expect(wider).toBe(0);
      await page.addScriptTag({ content: axe });
      const violations = await page.evaluate(async (only) => {
        const { axe } = globalThis as unknown as {
          axe: { run(options: object): Promise<{ violations: Violation[] }> };
        };
        const { violations } = await axe.run(only.length > 0 ? { runOnly: only } : {});
        return violations.map((v) => `${v.id}: ${v.nodes[0]?.html} ${v.nodes[0]?.failureSummary}`);
      }, rules);
      expect(violations).toEqual([]);
      expect(asked).toEqual([pathToFileURL(short).href]);
      await context.close();
    },
  );

  test("is no wider than the screen, on a telephone too, with everything open", async () => {
    const page = await browser.newPage();
    await page.goto(pathToFileURL(file).href);
    for (const width of [390, 1100]) {
      await page.setViewportSize({ width, height: 900 });
      const wider = await page.evaluate(() => {
        for (const details of document.querySelectorAll("details")) details.open = true;
        return document.documentElement.scrollWidth - document.documentElement.clientWidth;
      });
      expect(wider).toBe(0);
    }
    await page.close();
  });

  test("no label of a chart lies outside of its picture", async () => {
    const page = await browser.newPage({ viewport: { width: 1100, height: 900 } });
    await page.goto(pathToFileURL(file).href);
    const outside = await page.evaluate(() =>
      [...document.querySelectorAll("svg")].flatMap((svg) => {
        const frame = svg.getBoundingClientRect();
        return [...svg.querySelectorAll("text")]
          .filter((text) => {
            const box = text.getBoundingClientRect();
            return (
              box.left < frame.left - 1 ||
              box.right > frame.right + 1 ||
              box.top < frame.top - 2 ||
              box.bottom > frame.bottom + 2
            );
          })
          .map((text) => `${svg.getAttribute("aria-label")}: ${text.textContent}`);
      }),
    );
    expect(outside).toEqual([]);
    await page.close();
  });

  test("is light on paper, even from a dark screen", async () => {
    const context = await browser.newContext({ colorScheme: "dark" });
    const page = await context.newPage();
    await page.goto(pathToFileURL(file).href);
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    expect(await ground()).toBe("rgb(18, 22, 29)");
    await page.emulateMedia({ media: "print", colorScheme: "dark" });
    expect(await ground()).toBe("rgb(255, 255, 255)");
    expect(await page.evaluate(() => getComputedStyle(document.querySelector("nav")!).display)).toBe("none");
    await context.close();
  });

  test("a chart as a file of its own is an SVG that the browser's XML reader takes", async () => {
    const svg = join(folder, "chart.svg");
    const name = `<&"'>\u0000\u202e`;
    writeFileSync(
      svg,
      standalone(heatMap({ title: name, rows: [name], columns: [name], values: [[1]], scale: { from: 0, to: 1 } })),
    );
    const page = await browser.newPage();
    await page.goto(pathToFileURL(svg).href);
    const seen = await page.evaluate(() => [
      document.documentElement.localName,
      document.querySelectorAll("parsererror").length,
      document.querySelector("title")!.textContent,
    ]);
    expect(seen).toEqual(["svg", 0, `<&"'>\\u{0}\\u{202e}`]);
    await page.close();
  });
});

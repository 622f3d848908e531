// Four checkpoints of 1.07 GB merged in a tab: the bytes are the command line's, and the page's process stays small.
// By hand: npx bun test test/slow/playground-1gb.test.ts (makes 4.3 GB of checkpoints below bench/data when they are not there).

import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { benchShapes, makeCheckpoints } from "../../bench/checkpoints.ts";
import { buildSite, mergeInPage, noBrowser, openBrowser, peakOfRenderer, serveFiles } from "../browser/support.ts";

const root = join(import.meta.dirname, "../..");
const data = process.env.BRAID_BENCH_DATA ?? join(root, "bench/data");

/** What a tab holds beside the plan's budget: the page, and the browser's own pipes of blobs. */
const tabBytes = 256 * 2 ** 20;

const recipe = (method: string) => `merge_method: ${method}
base_model: base-base
models:
  - model: base-ft-1
  - model: base-ft-2
  - model: base-ft-3
parameters:
  drop_rate: 0.9
dtype: bfloat16
`;

test.skipIf(noBrowser !== null)(
  "merges files of a gigabyte with the memory of a tab bounded",
  async () => {
    const work = mkdtempSync(join(tmpdir(), "braid-gigabyte-"));
    mkdirSync(data, { recursive: true });
    const folders = makeCheckpoints(data, benchShapes.base, console.log);
    const text = recipe("dare_linear");
    await buildSite(join(work, "site"));
    const site = await serveFiles([join(work, "site")]);
    const browser = await openBrowser(join(work, "profile"));
    try {
      const { page } = browser;
      await page.goto(site.url);
      for (const folder of folders) {
        await page.locator("#folder-input").setInputFiles(folder);
        await page.locator("#model-list").getByText(basename(folder), { exact: true }).waitFor();
      }
      await page.locator("#yaml").fill(text);
      const summary = await mergeInPage(page, "gigabyte", 600_000);
      const peak = peakOfRenderer(browser);
      console.log(
        `${summary.text}\nrenderer ${(peak / 2 ** 20).toFixed(0)} MiB at its peak, planned ${summary.plannedMebibytes} MiB`,
      );
      const sha256 = commandLine(work, text);
      expect(summary.sha256).toBe(sha256);
      expect(peak).toBeLessThan(summary.plannedMebibytes * 2 ** 20 + tabBytes);
    } finally {
      await browser.close();
      await site.close();
      rmSync(work, { recursive: true, force: true });
    }
  },
  900_000,
);

/** The SHA-256 of what `braid merge` writes for the same text. */
function commandLine(work: string, text: string): string {
  writeFileSync(join(work, "recipe.yml"), text);
  const out = join(work, "out");
  const args = [join(root, "src/cli/main.ts"), "merge", join(work, "recipe.yml"), out, "--json"];
  const { status, stderr } = spawnSync(process.execPath, args, { cwd: data });
  if (status !== 0) throw new Error(stderr.toString());
  const { files } = JSON.parse(readFileSync(join(out, "braid.json"), "utf8")) as { files: { sha256: string }[] };
  return files[0]!.sha256;
}

// Four models of 20,000 small tensors, as mixtures of experts have them: what planning holds and leaves behind is in the plan.
// Run by hand: npx bun test test/slow/many-tensors.test.ts

import { afterAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MergeSummary } from "../../src/host.ts";
import { layoutHeader } from "../../src/tensor/encode.ts";
import { projectRoot } from "../support/host.ts";

const tensors = 20_000;
const shape = [64, 64];
const slack = 64 * 1024 * 1024;

const folder = mkdtempSync(join(tmpdir(), "braid-many-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const names = Array.from({ length: tensors }, (_, i) => {
  const [layer, expert] = [Math.floor(i / 384), Math.floor(i / 3) % 128];
  return `model.layers.${layer}.mlp.experts.${expert}.${["gate_proj", "up_proj", "down_proj"][i % 3]}.weight`;
});
const header = layoutHeader(names.map((name) => ({ name, dtype: "BF16", shape })));
for (const [m, model] of ["base", "a", "b", "c"].entries()) {
  mkdirSync(join(folder, model));
  const bytes = new Uint8Array(header.byteLength);
  bytes.set(header.bytes);
  // Small positive and negative numbers, other ones in each model.
  for (let i = header.bytes.length; i < bytes.length; i += 2) {
    bytes[i] = (i * 37 + m * 11) & 255;
    bytes[i + 1] = 0x3c | ((i * 13 + m) & 0x80);
  }
  writeFileSync(join(folder, model, "model.safetensors"), bytes);
  writeFileSync(join(folder, model, "config.json"), '{"model_type": "llama"}');
}

describe("models of 20,000 tensors", () => {
  for (const method of ["linear", "ties"]) {
    for (const runtime of ["bun", "deno"]) {
      test(`${method} under ${runtime} stays within its plan`, () => {
        const recipe = join(folder, `${method}.json`);
        const models = ["a", "b", "c"].map((m) => ({ model: join(folder, m), parameters: { weight: 0.3 } }));
        const ties = { base_model: join(folder, "base"), parameters: { density: 0.2 } };
        writeFileSync(recipe, JSON.stringify({ merge_method: method, models, ...(method === "ties" ? ties : {}) }));
        const flags = runtime === "deno" ? ["run", "-A", "--no-check"] : [];
        const out = join(folder, `${method}-${runtime}`);
        const { status, stdout, stderr } = spawnSync(
          join(projectRoot, "node_modules/.bin", runtime),
          [
            ...flags,
            "src/cli/main.ts",
            "merge",
            recipe,
            out,
            "--memory",
            "2GiB",
            "--workers",
            "2",
            "--json",
            "--quiet",
          ],
          { cwd: projectRoot, encoding: "utf8" },
        );
        expect(`${status} ${stderr}`).toBe("0 ");
        const summary = JSON.parse(stdout) as MergeSummary;
        expect(summary.tensors).toBe(tensors);
        console.log(`${method} ${runtime}: ${summary.peakMemoryBytes! >> 20} of ${summary.plannedPeakBytes >> 20} MiB`);
        expect(summary.peakMemoryBytes!).toBeLessThan(summary.plannedPeakBytes + slack);
      }, 300_000);
    }
  }
});

// Methods on the example models: one SHA-256 under both runtimes, with any workers and slices. Those that choose by element, and
// others that determinism.test.ts, which does the same at more length, does not have. slow/determinism.test.ts has all.

import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { projectRoot, withTempFolder } from "./support/host.ts";

const bin = join(projectRoot, "node_modules/.bin");
const main = join(projectRoot, "src/cli/main.ts");
const commands = { bun: [join(bin, "bun"), main], deno: [join(bin, "deno"), "run", "-A", "--no-check", main] };

/** Slices of 4,096 elements cut every tensor of the examples, of 12,288 no row of them evenly. */
const ways: readonly [runtime: "bun" | "deno", workers: number, slice: number][] = [
  ["bun", 1, 4_194_304],
  ["bun", 3, 4096],
  ["deno", 2, 12_288],
];

describe("one SHA-256 under both runtimes, with any workers and slices", () => {
  for (const name of [
    "nearswap",
    "arcee-fusion",
    "ram",
    "ramplus-tl",
    "sce",
    "magmax",
    "consensus-ta",
    "consensus-ties",
    "emr",
    "linear",
    "task-arithmetic",
    "passthrough",
    "tsv",
    "iso-c",
    "lora",
  ]) {
    test(
      name,
      () =>
        withTempFolder(async (temp) => {
          const hashes = ways.map(([runtime, workers, slice], i) => {
            const [command, ...args] = commands[runtime] as [string, ...string[]];
            expect(existsSync(command)).toBe(true);
            const out = join(temp, String(i));
            const options = ["--quiet", "--workers", String(workers), "--slice", String(slice)];
            const run = spawnSync(command, [...args, "merge", `examples/${name}.yml`, out, ...options], {
              cwd: projectRoot,
              encoding: "utf8",
            });
            expect({ runtime, status: run.status, stderr: run.stderr }).toEqual({ runtime, status: 0, stderr: "" });
            return createHash("sha256")
              .update(readFileSync(join(out, "model.safetensors")))
              .digest("hex");
          });
          expect(hashes).toEqual(hashes.map(() => hashes[0]!));
        }),
      60_000,
    );
  }
});

// One SHA-256 for every method: each example under both runtimes with 1, 2, 3 and 8 workers, every number of workers with slices of
// its own. Prints the table. Some three minutes: `npx bun test test/slow/determinism.test.ts`. determinism.test.ts and
// determinism-choice.test.ts hold samples of it.

import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { methods } from "../../src/methods/index.ts";
import { projectRoot, withTempFolder } from "../support/host.ts";

const bin = join(projectRoot, "node_modules/.bin");
const main = join(projectRoot, "src/cli/main.ts");
const runtimes = { bun: [join(bin, "bun"), main], deno: [join(bin, "deno"), "run", "-A", "--no-check", main] };
/** 4,096 elements cut every tensor of the examples, of 12,288 no row of them evenly, 4 Mi none. */
const ways = [
  [1, 4_194_304],
  [2, 4096],
  [3, 12_288],
  [8, 65_536],
] as const;

const examples = readdirSync(join(projectRoot, "examples"))
  .filter((name) => name.endsWith(".yml"))
  .sort()
  .map((name) => {
    const text = readFileSync(join(projectRoot, "examples", name), "utf8");
    return { name, method: /^merge_method: (\w+)/m.exec(text)![1]! };
  });

/** SHA-256 over all that a merge writes, by name. */
function merged(command: readonly string[], args: readonly string[], out: string): string {
  const run = spawnSync(command[0]!, [...command.slice(1), "merge", ...args, out, "--quiet", "--memory", "1GiB"], {
    cwd: projectRoot,
    encoding: "utf8",
  });
  if (run.status !== 0) throw new Error(`${command[0]} ${args.join(" ")}: exit ${run.status}\n${run.stderr}`);
  const hash = createHash("sha256");
  for (const file of readdirSync(out)
    .filter((f) => f.endsWith(".safetensors"))
    .sort())
    hash.update(readFileSync(join(out, file)));
  return hash.digest("hex");
}

describe("one SHA-256 for each method, Bun and Deno, 1, 2, 3 and 8 workers", () => {
  test("every method has an example", () =>
    expect([...methods.keys()].filter((m) => !examples.some((e) => e.method === m))).toEqual([]));

  const cases = [
    ...examples.map(({ name, method }) => ({ title: method, name, options: [] as string[] })),
    { title: "emr, masks and scales", name: "emr.yml", options: ["--export-masks"] },
    { title: "dare_ties, rounded by chance", name: "dare-ties.yml", options: ["--rounding", "stochastic"] },
  ];
  for (const { title, name, options } of cases) {
    test(
      `${title} (${name})`,
      () =>
        withTempFolder(async (temp) => {
          const hashes = Object.entries(runtimes).flatMap(([runtime, command]) =>
            ways.map(([workers, slice]) => ({
              runtime,
              workers,
              sha256: merged(
                command,
                [`examples/${name}`, ...options, "--workers", String(workers), "--slice", String(slice)],
                join(temp, `${runtime}-${workers}`, "out"),
              ),
            })),
          );
          expect(hashes).toEqual(hashes.map((h) => ({ ...h, sha256: hashes[0]!.sha256 })));
          console.log(`| ${title} | \`${hashes[0]!.sha256}\` | ${hashes.length} runs |`);
        }),
      300_000,
    );
  }
});

// One SHA-256: the same recipe gives the same bytes under every runtime, with any number of workers, any slice size.

import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { indexJson, layoutShards } from "../src/tensor/shards.ts";
import { projectRoot, withTempFolder } from "./support/host.ts";

const bin = join(projectRoot, "node_modules/.bin");
const main = join(projectRoot, "src/cli/main.ts");
const runtimes = [
  { name: "bun", command: join(bin, "bun"), args: [main] },
  { name: "deno", command: join(bin, "deno"), args: ["run", "-A", "--no-check", main] },
].filter((r) => existsSync(r.command));

/** SHA-256 of every file of a merge that has one in its manifest's place: tensors, config, index, tokenizer, manifest. */
function merged(
  runtime: (typeof runtimes)[number],
  recipe: string,
  out: string,
  options: readonly string[],
): Record<string, string> {
  const run = spawnSync(runtime.command, [...runtime.args, "merge", recipe, out, "--json", "--quiet", ...options], {
    cwd: projectRoot,
    encoding: "utf8",
  });
  if (run.status !== 0) throw new Error(`${runtime.name} ${options.join(" ")}: exit ${run.status}\n${run.stderr}`);
  const hashes: Record<string, string> = {};
  for (const file of readdirSync(out).sort())
    hashes[file] = createHash("sha256")
      .update(readFileSync(join(out, file)))
      .digest("hex");
  const summary = JSON.parse(run.stdout) as { files: { name: string; sha256: string }[] };
  for (const f of summary.files)
    expect({ file: f.name, sha256: f.sha256 }).toEqual({ file: f.name, sha256: hashes[f.name]! });
  return hashes;
}

/**
 * Every runtime × 1, 2, 3, 8 workers × three slice sizes; memory that allows only small strides once. `compact`: three runs, in
 * which runtime, workers and slices all differ.
 */
async function oneHash(recipe: string, extra: readonly string[], compact = false): Promise<void> {
  await withTempFolder(async (temp) => {
    let want: Record<string, string> | null = null;
    for (const runtime of runtimes) {
      for (const workers of [1, 2, 3, 8]) {
        for (const slice of [4096, 65_536, 1 << 22]) {
          // All slices with two workers, the middle one with the others: 12 runs a recipe and runtime say no more than these 6.
          if (workers !== 2 && slice !== 65_536) continue;
          const chosen = ["bun 1 65536", "bun 2 4096", "deno 2 4194304"];
          if (compact && !chosen.includes(`${runtime.name} ${workers} ${slice}`)) continue;
          const out = join(temp, `${runtime.name}-${workers}-${slice}`, "merged");
          mkdirSync(join(out, ".."));
          const hashes = merged(runtime, recipe, out, [
            "--workers",
            String(workers),
            "--slice",
            String(slice),
            "--memory",
            "1GiB",
            ...extra,
          ]);
          want ??= hashes;
          expect({ runtime: runtime.name, workers, slice, hashes }).toEqual({
            runtime: runtime.name,
            workers,
            slice,
            hashes: want,
          });
        }
      }
    }
    const model = Object.keys(want!).filter((f) => f.endsWith(".safetensors"));
    expect(model.length).toBeGreaterThan(0);
  });
}

/** Three shards of tensors whose sizes fit no slice; deltas on the bf16 grid with many equal magnitudes. */
function writeShardedModel(folder: string, seed: number, dtype: "BF16" | "F32"): void {
  mkdirSync(folder, { recursive: true });
  const shapes: [string, number[]][] = [
    ["model.embed_tokens.weight", [1237, 96]],
    ["model.layers.0.mlp.up_proj.weight", [701, 130]],
    ["model.layers.0.norm.weight", [96]],
    ["model.layers.1.mlp.up_proj.weight", [333, 333]],
    ["model.layers.1.norm.weight", [96]],
    ["lm_head.weight", [1237, 96]],
  ];
  const files = layoutShards(
    shapes.map(([name, shape]) => ({ name, dtype, shape })),
    { shardBytes: dtype === "BF16" ? 420_000 : 840_000 },
  );
  expect(files.length).toBe(3);
  let x = 1;
  const next = () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
  let y = seed;
  const drift = () => {
    y = (Math.imul(y, 1664525) + 1013904223) | 0;
    return ((y >>> 24) & 7) - 3;
  };
  for (const file of files) {
    const bytes = new Uint8Array(file.byteLength);
    bytes.set(file.header);
    const view = new DataView(bytes.buffer);
    for (const range of file.tensors.values()) {
      for (let at = range.start; at < range.end; at += dtype === "BF16" ? 2 : 4) {
        const bits = 0x3c00 + (next() & 0x80ff);
        // The same base for every seed; a fine-tune is some units in the last place away from it.
        const tuned = seed === 0 ? bits : Math.max(bits & 0x8000, bits + drift());
        if (dtype === "BF16") view.setUint16(at, tuned, true);
        else view.setUint32(at, tuned * 65536 + (seed === 0 ? 0 : (y >>> 8) & 0xffff), true);
      }
    }
    writeFileSync(join(folder, file.name), bytes);
  }
  writeFileSync(join(folder, "model.safetensors.index.json"), indexJson(files));
  writeFileSync(join(folder, "config.json"), JSON.stringify({ model_type: "llama", num_hidden_layers: 2 }));
}

describe("one SHA-256 under every runtime, worker count and slice size", () => {
  test("both runtimes are here", () => expect(runtimes.map((r) => r.name)).toEqual(["bun", "deno"]));
  test("the demo", () => oneHash("examples/dare-ties.yml", []), 120_000);
  for (const recipe of ["star", "iso-cts", "free"])
    test(`whole matrices: ${recipe}`, () => oneHash(`examples/${recipe}.yml`, []), 300_000);
  for (const [method, parameters] of [
    ["dare_ties", { drop_rate: 0.5, rescale: "l1" }],
    ["ties", { density: 0.3, ties: "exact" }],
    ["ties", { density: 0.3, ties: "exact", scope: "model" }],
    ["breadcrumbs", { density: 0.6, gamma: 0.05, ties: "exact", scope: "model" }],
    ["slerp", { t: [0.2, 0.9] }],
    ["breadcrumbs_ties", { density: 0.5, gamma: 0.1, scope: "row", rescale: "l1" }],
    ["della", { density: 0.4, epsilon: 0.1 }],
    ["della_linear", { density: 0.4, epsilon: 0.1, rescale: "l2" }],
  ] as const) {
    for (const dtype of ["BF16", "F32"] as const) {
      test(`${method} ${JSON.stringify(parameters)} of three-shard ${dtype} checkpoints into three shards`, async () => {
        await withTempFolder(async (temp) => {
          const models = method === "slerp" ? [0, 1] : [0, 1, 2, 3];
          for (const m of models) writeShardedModel(join(temp, `m${m}`), m, dtype);
          const recipe = join(temp, "recipe.yml");
          writeFileSync(
            recipe,
            JSON.stringify({
              merge_method: method,
              base_model: join(temp, "m0"),
              models: models.slice(1).map((m) => ({
                model: join(temp, `m${m}`),
                ...(method === "slerp" ? {} : { parameters: { weight: 0.5 + m / 4 } }),
              })),
              parameters,
              dtype: "bfloat16",
            }),
          );
          await oneHash(recipe, ["--out-shard-size", "420000"]);
        });
      }, 120_000);
    }
  }

  /** Methods whose coefficients come from surveys, with all that they take: f32 and bf16 inputs, a DARE step, vectors by line. */
  for (const [method, count, parameters] of [
    ["multislerp", 3, { dare: 0.4 }],
    ["karcher", 3, { max_iter: 20 }],
    ["model_stock", 3, { clamp: false, dare: 0.3 }],
    ["model_stock", 3, { clamp: false, filter_wise: true }],
    ["nuslerp", 2, { nuslerp_flatten: false, dare: 0.2 }],
    ["nuslerp", 2, { nuslerp_flatten: false, nuslerp_row_wise: true }],
    ["dare_slerp", 2, { drop_rate: 0.5, t: 0.3 }],
    ["metagpt", 3, { dare: 0.2 }],
    ["ties", 3, { density: 0.4, zero: "majority" }],
    ["ties", 3, { density: 0.4, dare: 0.5, ties: "exact", scope: "model" }],
    ["sce", 3, { select_topk: 0.3, dare: 0.5, drop: "row" }],
    ["consensus_ties", 3, { density: 0.4, dare: 0.5, k: 1 }],
    ["dare_ties", 3, { drop_rate: 0.7, mask: "disjoint", trim: 0.5 }],
    ["dare_linear", 3, { drop_rate: 0.7, mask: "disjoint", drop: "row" }],
    ["dare_ties", 3, { drop_rate: 0.5, drop: "column", rescale: "l2" }],
  ] as const) {
    test(`${method} ${JSON.stringify(parameters)}, in few runs`, async () => {
      await withTempFolder(async (temp) => {
        for (const m of [0, 1, 2, 3].slice(0, count + 1))
          writeShardedModel(join(temp, `m${m}`), m, m === 1 ? "F32" : "BF16");
        const models = Array.from({ length: count }, (_, i) => ({
          model: join(temp, `m${i + 1}`),
          parameters: { weight: 1 + i / 4 },
        }));
        const base = method === "karcher" ? {} : { base_model: join(temp, "m0") };
        const recipe = join(temp, "recipe.yml");
        writeFileSync(recipe, JSON.stringify({ merge_method: method, ...base, models, parameters, dtype: "bfloat16" }));
        await oneHash(recipe, ["--out-shard-size", "420000"], true);
      });
    }, 60_000);
  }
});

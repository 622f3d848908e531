// The example models: merges of them, in f32, and their accuracy on the three tasks.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { localFiles } from "../src/bytes/file.ts";
import { createHost } from "../src/cli/host.ts";
import { createInlineExecutor } from "../src/exec/inline.ts";
import { fileOpener } from "../src/exec/local.ts";
import { defaultRequest } from "../src/host.ts";
import { openNetwork } from "../src/infer/network.ts";
import { parseCases, scoreExactMatch } from "../src/infer/score.ts";
import { openTokenizer } from "../src/infer/tokenizer.ts";
import { compileKernel } from "../src/kernel/kernel.ts";
import { merge } from "../src/merge.ts";
import { openCheckpoint } from "../src/tensor/checkpoint.ts";

export const root = resolve(import.meta.dirname, "..");
export const modelsFolder = join(root, "examples/models");
export const tasks = ["add", "rev", "sort"] as const;
export type Task = (typeof tasks)[number];
export const fineTunes = ["ft-add", "ft-rev", "ft-sort"] as const;

const module = compileKernel();
const cases = Object.fromEntries(
  tasks.map((t) => [t, parseCases(readFileSync(join(modelsFolder, "tests", `${t}.jsonl`), "utf8"), t)]),
);
const host = createHost({
  env: {},
  signal: new AbortController().signal,
  report: () => {},
  createExecutor: (job) => createInlineExecutor({ module, job, now: () => performance.now(), opener: fileOpener }),
});

/** One recipe: method, models with what each has, what all have. Everything is merged and written in f32. */
export interface Merge {
  readonly method: string;
  readonly models?: readonly string[];
  readonly weight?: number;
  readonly parameters?: Readonly<Record<string, number | string | boolean>>;
  readonly seed?: number;
  readonly base?: string | null;
}

export function recipeText({
  method,
  models = fineTunes,
  weight,
  parameters = {},
  seed,
  base = "base",
}: Merge): string {
  return [
    `merge_method: ${method}`,
    ...(base === null ? [] : [`base_model: examples/models/${base}`]),
    "models:",
    ...models.map((m) => `  - model: ${m.startsWith("/") ? m : `examples/models/${m}`}`),
    "parameters:",
    ...(weight === undefined ? [] : [`  weight: ${weight}`]),
    ...Object.entries(parameters).map(([name, value]) => `  ${name}: ${value}`),
    ...(seed === undefined ? [] : [`random_seed: ${seed}`]),
    "dtype: float32",
    "",
  ].join("\n");
}

/** Merges into a folder that is gone afterwards. */
export async function withMerged<T>(what: Merge, use: (folder: string) => Promise<T>): Promise<T> {
  const temp = mkdtempSync(join(tmpdir(), "braid-experiment-"));
  try {
    const out = join(temp, "out");
    const recipe = { text: recipeText(what), file: "experiment.yml", folder: root };
    const request = { ...defaultRequest, recipe, workers: 1, memoryBytes: 2 ** 30, checksum: false, sync: false };
    await merge(request, out, { overwrite: false }, { ...host, cwd: root });
    return await use(out);
  } finally {
    rmSync(temp, { recursive: true, force: true });
  }
}

export type Scores = Partial<Record<Task, number>>;

/** Accuracy of a folder on some of the tasks, in [0, 1]. */
export async function score(folder: string, of: readonly Task[] = tasks): Promise<Scores> {
  const place = localFiles.folder(folder);
  const network = await openNetwork(await openCheckpoint(folder, place), place, module);
  const tokenizer = await openTokenizer(place);
  const scores: Scores = {};
  for (const task of of) scores[task] = (await scoreExactMatch(network, tokenizer, cases[task]!)).accuracy;
  return scores;
}

export const scoreMerge = (what: Merge, of?: readonly Task[]): Promise<Scores> =>
  withMerged(what, (folder) => score(folder, of));

/** All tensors of a folder's safetensors files, one after the other by name, in f64. */
export async function readValues(folder: string): Promise<Float64Array> {
  const place = localFiles.folder(folder);
  const checkpoint = await openCheckpoint(folder, place);
  const parts: Float64Array[] = [];
  for (const name of [...checkpoint.tensors.keys()].sort()) {
    const { dtype, file, start, end, count } = checkpoint.tensors.get(name)!;
    const bytes = new Uint8Array(end - start);
    const source = await place.open(checkpoint.files[file]!.name);
    await source.read(start, bytes);
    await source.close();
    if (dtype !== "F32" && dtype !== "BF16") throw new Error(`${name} is ${dtype}`);
    const view = new DataView(bytes.buffer);
    const wide = new DataView(new ArrayBuffer(4));
    parts.push(
      Float64Array.from({ length: count }, (_, i) => {
        if (dtype === "F32") return view.getFloat32(4 * i, true);
        wide.setUint32(0, view.getUint16(2 * i, true) * 65536);
        return wide.getFloat32(0);
      }),
    );
  }
  const out = new Float64Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

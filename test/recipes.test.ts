// Every recipe of test/vectors/recipes from its text to a checkpoint, on small stand-ins: what mergekit 0.1.5 writes for it
// (expected.json), the parameters that it gives to each tensor, and for methods without chance its values (merged.json).

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isBraidError } from "../src/errors.ts";
import { merge } from "../src/merge.ts";
import { type Prepared, prepare } from "../src/prepare.ts";
import { torchNames } from "../src/tensor/dtype.ts";
import { carriedBy } from "./support/carried.ts";
import { projectRoot, requestFor, testHost, withTempFolder } from "./support/host.ts";
import { writeStandIn, writeStandInAdapter } from "./support/stand-ins.ts";
import { type PlainTensor, readCheckpoint } from "./support/tensors.ts";

type Parameters = Record<string, unknown>;

interface Document {
  method: string;
  name?: string;
  models: string[];
  tokenizer_models?: string[];
  out_layers: number;
  out_tensors: number;
  tensors: Record<
    string,
    { base?: string | null; shared?: Parameters; inputs: (Parameters & { model: string; tensor: string })[] }
  >;
  run: { tensors: number; dtype: string[] };
}

interface Expected extends Document {
  braid: "accept" | "refuse";
  documents?: Document[];
}

interface Picked {
  first: number[];
  sum: number;
  norm: number;
}

const folder = join(projectRoot, "test/vectors/recipes");
const text = (file: string): string => readFileSync(join(folder, file), "utf8");
const expected = JSON.parse(text("expected.json")) as Record<string, Expected>;
const merged = JSON.parse(text("merged.json")) as Record<string, Record<string, Picked>>;

function writeModels(documents: readonly Document[], cwd: string, dtype: "BF16" | "F32" = "BF16"): void {
  const names = new Set(documents.map((d) => d.name));
  for (const model of new Set(documents.flatMap((d) => [...d.models, ...(d.tokenizer_models ?? [])]))) {
    if (names.has(model)) continue;
    const [base, adapter] = model.split("+");
    writeStandIn(join(cwd, base!), base!, dtype);
    if (adapter) writeStandInAdapter(join(cwd, adapter), adapter);
  }
}

function compare(out: ReadonlyMap<string, PlainTensor>, want: Document): void {
  expect(out.size).toBe(want.run.tensors);
  expect(out.size).toBe(want.out_tensors);
  const layers = new Set([...out.keys()].flatMap((name) => /\.layers\.(\d+)\./.exec(name)?.[1] ?? []));
  expect(layers.size).toBe(want.out_layers);
  const dtypes = new Set([...out.values()].map((t) => torchNames[t.dtype as keyof typeof torchNames] as string));
  expect([...dtypes]).toEqual(want.run.dtype);
  for (const t of out.values()) expect(t.values.every(Number.isFinite)).toBe(true);
}

/** Methods whose terms have the recipe's weights, and those of them that elect signs. */
const weighted = [
  "linear",
  "task_arithmetic",
  "dare_linear",
  "dare_ties",
  "ties",
  "della",
  "della_linear",
  "breadcrumbs_ties",
];
const electing = ["dare_ties", "ties", "della", "breadcrumbs_ties"];

/** Compares what the programs carry with what expected.json says of their tensors; gives how many values were compared. */
function comparePlan({ plan }: Prepared, want: Document): number {
  let compared = 0;
  for (const [name, tensor] of Object.entries(want.tensors)) {
    const planned = plan.tensors.find((t) => t.name === name)!;
    expect({ name, inputs: planned.inputs.map((i) => [plan.inputs[i.model]!.reference, i.tensor]) }).toEqual({
      name,
      inputs: tensor.inputs.map((i) => [i.model, i.tensor]),
    });
    const same = (what: string, got: unknown, value: number) => {
      const near = typeof got === "number" && Math.abs(got - value) <= 1e-6 * Math.max(1, Math.abs(value));
      expect(`${what} of ${name}: ${near ? value : got}`).toBe(`${what} of ${name}: ${value}`);
      compared++;
    };
    const shared = tensor.shared ?? {};
    if (want.method === "slerp") same("t", planned.solve.t, Number(shared.t));
    const carried = carriedBy(plan, planned);
    const inputs = tensor.inputs.filter((i) => carried.has(i.model) && i.weight !== undefined);
    const weights = inputs.map((i) => Number(i.weight));
    const elects = electing.includes(want.method);
    // A sum of agreeing weights that divides is the kernel's business, and weights that are all equal cancel there.
    const cancels = elects && shared.normalize === true && new Set(weights).size === 1;
    const divisor = !elects && shared.normalize === true ? weights.reduce((a, b) => a + b, 0) : 1;
    for (const input of inputs) {
      const got = carried.get(input.model)!;
      const rescale = got.random && shared.rescale !== false ? 1 / Number(input.density) : 1;
      const factor = (Number(shared.lambda ?? 1) * Number(input.weight) * rescale) / divisor;
      if (weighted.includes(want.method) && !cancels) same(`${input.model}: λ·w·s`, got.factor, factor);
      if (weighted.includes(want.method) && input.density !== undefined)
        same(`${input.model}: density`, got.density, Number(input.density));
      for (const key of ["gamma", "epsilon"] as const)
        if (input[key] !== undefined) same(`${input.model}: ${key}`, got[key], Number(input[key]));
    }
  }
  return compared;
}

/** The dtype of the recipe replaced, and no other: values of float32 do not depend on how bf16 is rounded between steps. */
const inFloat32 = (recipe: string) =>
  `${recipe.replace(/^(out_)?dtype:.*$/gm, "").replace(/\r?\n\.\.\.\s*$/, "\n")}\ndtype: float32\n`;

function compareValues(out: ReadonlyMap<string, PlainTensor>, want: Record<string, Picked>): void {
  for (const [name, { first, sum, norm }] of Object.entries(want)) {
    const { values } = out.get(name)!;
    const near = (a: number, b: number, limit: number) => Math.abs(a - b) <= limit;
    const total = values.reduce((a, b) => a + b, 0);
    const length = Math.sqrt(values.reduce((a, b) => a + b * b, 0));
    const held =
      first.every((x, i) => near(values[i]!, x, 2e-6)) && near(total, sum, 1e-4) && near(length, norm, 1e-5 * norm);
    if (!held)
      expect({ name, first: [...values.slice(0, 6)], sum: total, norm: length }).toEqual({ name, first, sum, norm });
  }
}

describe("recipes as people publish them, from text to checkpoint", () => {
  for (const [file, want] of Object.entries(expected)) {
    const documents = want.documents ?? [want];
    if (want.braid === "refuse") {
      test(`${file} is refused, with its place`, () =>
        withTempFolder(async (cwd) => {
          writeModels(want.models ? [want] : [], cwd);
          const error = await prepare(requestFor(text(file)), testHost({ cwd })).catch((e) => e);
          expect(isBraidError(error)).toBe(true);
          for (const d of error.diagnostics)
            expect({ kind: d.kind, line: d.where?.line }).toMatchObject({
              kind: expect.stringMatching(/^recipe-|^unknown-method$/),
              line: expect.any(Number),
            });
        }));
      continue;
    }
    test(`${file} merges to what mergekit writes`, () =>
      withTempFolder(async (cwd) => {
        writeModels(documents, cwd);
        const host = testHost({ cwd });
        const request = requestFor(text(file));
        const prepared = await prepare(request, host);
        const steps = [...prepared.earlier, prepared];
        expect(steps.map((s) => s.plan.method)).toEqual(documents.map((d) => d.method));
        const compared = steps.reduce((sum, step, i) => sum + comparePlan(step, documents[i]!), 0);
        if ([...weighted, "slerp"].includes(want.method)) expect(compared).toBeGreaterThan(0);
        const summary = await merge(request, "out", { overwrite: false, intermediate: "steps" }, host);
        expect([...(summary.earlier ?? []), summary].map((s) => s.tensors)).toEqual(
          documents.map((d) => d.out_tensors),
        );
        documents.forEach((d, i) => {
          compare(readCheckpoint(join(cwd, i < documents.length - 1 ? `steps/${d.name}` : "out")), d);
        });
        const config = JSON.parse(readFileSync(join(cwd, "out/config.json"), "utf8"));
        expect(config.num_hidden_layers).toBe(documents.at(-1)!.out_layers);
      }));
  }

  test("24-tokenizer-token-map.yml takes the rows that its tokens name, adds its own and pads", () =>
    withTempFolder(async (cwd) => {
      const file = "24-tokenizer-token-map.yml";
      writeModels([expected[file]!], cwd, "F32");
      await merge(requestFor(inFloat32(text(file))), "out", { overwrite: false }, testHost({ cwd }));
      const rowsOf = (folder: string) => {
        const { shape, values } = readCheckpoint(join(cwd, folder)).get("model.embed_tokens.weight")!;
        const [, width] = shape as [number, number];
        return { shape, row: (id: number) => [...values.subarray(id * width, (id + 1) * width)] };
      };
      const [b, c, out] = [rowsOf("org/model-b"), rowsOf("org/model-c"), rowsOf("out")];
      const { model, added_tokens } = JSON.parse(readFileSync(join(cwd, "out/tokenizer.json"), "utf8"));
      const ids = new Map<string, number>(Object.entries(model.vocab));
      for (const { content, id } of added_tokens) ids.set(content, id);
      const row = (token: string) => out.row(ids.get(token)!);
      // 16 tokens of the stand-ins and [UNUSED], made a multiple of 16.
      expect(out.shape).toEqual([32, b.shape[1]!]);
      expect(row("<|im_end|>")).toEqual(b.row(13));
      expect(row("<|eot_id|>")).toEqual(c.row(14));
      const zeros = b.row(0).map(() => 0);
      expect([row("[UNUSED]"), out.row(31)]).toEqual([zeros, zeros]);
      // Not forced: who has the token keeps its own row, and the rows are averaged.
      expect(row("<|im_start|>")).toEqual(b.row(12).map((x, i) => Math.fround(Math.fround(x + c.row(12)[i]!) / 2)));
    }));

  test("merged.json has a recipe of every method without chance", () => {
    const methods = new Set(Object.keys(merged).map((file) => expected[file]!.method));
    const all = [
      "breadcrumbs_ties",
      "karcher",
      "linear",
      "model_stock",
      "passthrough",
      "slerp",
      "task_arithmetic",
      "ties",
    ];
    expect([...methods].sort()).toEqual(all);
  });

  for (const [file, want] of Object.entries(merged)) {
    test(`${file} has mergekit's values`, () =>
      withTempFolder(async (cwd) => {
        writeModels([expected[file]!], cwd, "F32");
        const request = requestFor(inFloat32(text(file)), { compat: "mergekit" });
        await merge(request, "out", { overwrite: false }, testHost({ cwd }));
        compareValues(readCheckpoint(join(cwd, "out")), want);
      }));
  }
});

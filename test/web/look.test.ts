// What the page shows of a recipe is what the recipe does.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { compileKernel } from "../../src/kernel/kernel.ts";
import { braidMask } from "../../src/kernel/reference.ts";
import { BlobSource } from "../../src/web/blob-source.ts";
import {
  type Change,
  changeFacts,
  conflicts,
  cosines,
  countElection,
  distribution,
  maskPicture,
} from "../../src/web/look.ts";
import { mergeInMemory } from "../../src/web/memory-host.ts";
import type { Mount, MountedFile, OpenMounted } from "../../src/web/mounts.ts";
import { matricesOf, oneTensor, onlyTensor } from "../../src/web/one-tensor.ts";
import { formOf } from "../../src/web/recipe-form.ts";
import { changedModels, survivorRecipe } from "../../src/web/survivors.ts";

const examples = join(import.meta.dirname, "../../examples");
const module = compileKernel();
const open: OpenMounted = (path, file) => {
  if (file.kind !== "blob") throw new Error("only blobs here");
  return new BlobSource(path, file.blob);
};
const mount = (name: string): Mount => {
  const folder = join(examples, name);
  const files = readdirSync(folder).map((file): [string, MountedFile] => [
    file,
    { kind: "blob", blob: new Blob([readFileSync(join(folder, file))]), modified: 0 },
  ]);
  return { name, files: new Map(files) };
};
const names = ["models/base", "models/ft-add", "models/ft-rev", "models/ft-sort"];
const mounts = names.map(mount);
const run = (text: string, of: readonly Mount[]) =>
  mergeInMemory({ text, mounts: of, module, open, now: () => performance.now(), signal: new AbortController().signal });

test("a model of one tensor holds its values", async () => {
  const matrices = await matricesOf(mounts[0]!, open);
  expect(matrices.map(({ name }) => name)).toContain("model.layers.1.mlp.up_proj.weight");
  expect(matrices.every(({ shape }) => shape.length === 2)).toBe(true);
  const { mount: one, values, shape } = await oneTensor(mounts[0]!, "model.layers.1.mlp.up_proj.weight", open);
  expect(values).toHaveLength(shape[0]! * shape[1]!);
  const copy = await run(
    'merge_method: linear\nmodels: [{model: "models/base", parameters: {weight: 1}}]\ndtype: float32\n',
    [one],
  );
  expect(await onlyTensor(copy)).toEqual(values);
});

test("the survivors shown are those of the mask of the model in its place in the recipe", async () => {
  const tensor = "model.layers.0.self_attn.q_proj.weight";
  const ones = await Promise.all(mounts.map((each) => oneTensor(each, tensor, open)));
  const form = formOf(readFileSync(join(examples, "dare-ties.yml"), "utf8"))!;
  const base = ones[0]!.values;
  for (const [index, model] of changedModels(form).entries()) {
    const text = survivorRecipe(form, model)!;
    const out = await onlyTensor(
      await run(
        text,
        ones.map((one) => one.mount),
      ),
    );
    const values = ones[index + 1]!.values;
    const kept = braidMask(42, index, tensor, 0.9, 0, base.length);
    for (let i = 0; i < base.length; i++) {
      const survives = kept[i] !== 0 && values[i] !== base[i];
      // Ten times a change of bf16 never vanishes beside its base in f32.
      if ((out[i] !== base[i]) !== survives)
        throw new Error(`element ${i} of ${model}: shown ${out[i] !== base[i]}, drawn ${survives}`);
    }
  }
});

test("TIES' survivors are the largest changes, unscaled", async () => {
  const tensor = "model.layers.0.self_attn.q_proj.weight";
  const ones = await Promise.all(mounts.map((each) => oneTensor(each, tensor, open)));
  const form = { ...formOf(readFileSync(join(examples, "ties.yml"), "utf8"))!, values: { density: 0.2, lambda: 3 } };
  const out = await onlyTensor(
    await run(
      survivorRecipe(form, "models/ft-rev")!,
      ones.map((one) => one.mount),
    ),
  );
  const base = ones[0]!.values;
  const delta = ones[2]!.values.map((x, i) => x - base[i]!);
  const threshold = [...delta].map(Math.abs).sort((a, b) => b - a)[Math.round(delta.length * 0.2) - 1]!;
  for (let i = 0; i < base.length; i++) {
    const shown = out[i]! - base[i]!;
    expect(Math.abs(shown - (Math.abs(delta[i]!) >= threshold ? delta[i]! : 0))).toBeLessThan(1e-6);
  }
});

describe("what is counted", () => {
  const change = (model: string, delta: number[], kept: number[]): Change => ({
    model,
    delta: Float32Array.from(delta),
    kept: Float32Array.from(kept),
  });
  const a = change("a", [1, -1, 2, 0, 4], [2, 0, 4, 0, 0]);
  const b = change("b", [1, 1, -2, 3, 0], [2, 0, -4, 6, 0]);

  test("an election: nobody, one, several that agree, several that do not; a negative weight turns a voice", () => {
    expect(countElection([a, b], [1, 1])).toEqual({ silent: 2, alone: 1, agreed: 1, contested: 1 });
    expect(countElection([a, b], [1, -1])).toEqual({ silent: 2, alone: 1, agreed: 1, contested: 1 });
    expect(countElection([a, a], [1, -1])).toEqual({ silent: 3, alone: 0, agreed: 0, contested: 2 });
  });

  test("cosines and opposite signs", () => {
    expect(cosines([a.kept, b.kept])[0]![1]).toBeCloseTo((4 - 16) / (Math.sqrt(20) * Math.sqrt(56)), 12);
    expect(conflicts([a.kept, b.kept])[0]![1]).toBe(0.5);
    expect(cosines([a.kept, new Float32Array(5)])[0]![1]).toBe(0);
  });

  test("shares and the ratio of norms", () => {
    const { changed, left, meanBefore, normRatio } = changeFacts(a);
    expect([changed, left, meanBefore]).toEqual([0.8, 0.4, 2]);
    expect(normRatio).toBeCloseTo(Math.sqrt(20 / 22), 12);
  });

  test("a mask's pixels are of the matrix's corner, row by row", () => {
    const columns = 300;
    const delta = new Float32Array(3 * columns).fill(1);
    const kept = new Float32Array(3 * columns);
    kept[columns + 2] = -5;
    delta[2 * columns] = 0;
    const picture = maskPicture({ model: "a", delta, kept }, { rows: 3, columns });
    expect([picture.rows, picture.columns]).toEqual([3, 256]);
    expect(picture.codes[256 + 2]).toBe(3);
    expect(picture.codes[2 * 256]).toBe(0);
    expect(picture.codes[0]).toBe(1);
  });

  test("a distribution counts what is not zero, on both sides", () => {
    const { edges, before, after } = distribution(a);
    expect(edges[0]).toBe(-edges.at(-1)!);
    expect(before.reduce((x, y) => x + y)).toBe(4);
    expect(after.reduce((x, y) => x + y)).toBe(2);
  });
});

test("a blob is read the same in any pieces, forwards, backwards and across its streams", async () => {
  for (const size of [700_000, 3_000_000]) {
    const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 31 + (i >> 9)) & 255);
    const source = new BlobSource("x", new Blob([bytes]));
    const reads = [
      [0, 10],
      [10, 300_000],
      [300_010, 5],
      [100, 50],
      [size - 1, 1],
      [0, size],
      [262_143, 262_146],
      [5, 0],
    ] as const;
    for (const [start, length] of reads) {
      const target = new Uint8Array(length);
      await source.read(start, target);
      expect(Buffer.compare(target, bytes.subarray(start, start + length))).toBe(0);
    }
    expect(() => source.read(size - 1, new Uint8Array(2))).toThrow(`it has ${size}`);
    source.close();
  }
});

test("a stream that never answers is given up, and its bytes are asked for without it", async () => {
  const bytes = Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 31 + (i >> 9)) & 255);
  const blob = new Blob([bytes]);
  const silent = Object.assign(blob, {
    slice: (start: number, end: number) =>
      Object.assign(Blob.prototype.slice.call(blob, start, end), {
        stream: () => new ReadableStream({ type: "bytes", pull: () => new Promise(() => {}) }),
      }),
  });
  const source = new BlobSource("x", silent, 20);
  const target = new Uint8Array(1_000);
  await source.read(77, target);
  expect(Buffer.compare(target, bytes.subarray(77, 1_077))).toBe(0);
});

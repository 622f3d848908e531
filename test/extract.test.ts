// Extraction from checkpoints: what comes out is folded by Braid, whose folding is checked against PEFT's in adapter.test.ts.
// test/peft/extract.py loads the same adapters with PEFT.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isBraidError } from "../src/errors.ts";
import { defaultExtraction, type ExtractRequest, extract } from "../src/extract.ts";
import { merge } from "../src/merge.ts";
import { matches } from "../src/plan/delta.ts";
import { denoProgram, start } from "./cli/braid.ts";
import { projectRoot, requestFor, testHost, withTempFolder } from "./support/host.ts";
import { type NewTestTensor, writeModel } from "./support/models.ts";
import { readCheckpoint } from "./support/tensors.ts";

setDefaultTimeout(60_000);

const base = "examples/models/base";
const fine = "examples/models/ft-add";

const bunProgram = [join(projectRoot, "node_modules/.bin/bun"), join(projectRoot, "src/cli/main.ts")];
const programs = [
  [bunProgram, "1"],
  [bunProgram, "3"],
  [denoProgram, "2"],
] as const;

const run = (out: string, options: Partial<ExtractRequest> & { rank: number }, from = base, model = fine) =>
  extract(from, model, { ...defaultExtraction, workers: 1, ...options }, out, testHost());

async function folded(adapter: string, onto: string, out: string) {
  const recipe = {
    merge_method: "linear",
    models: [{ model: `${onto}+${adapter}`, parameters: { weight: 1 } }],
    dtype: "float32",
  };
  await merge(requestFor(JSON.stringify(recipe)), out, { overwrite: false }, testHost());
  return readCheckpoint(out);
}

function apart(x: Float64Array, y: Float64Array): number {
  return Math.sqrt(x.reduce((sum, v, i) => sum + (v - y[i]!) ** 2, 0));
}

async function refusal(promise: Promise<unknown>): Promise<{ kind: string; text: string }> {
  const error = await promise.then(
    () => null,
    (e) => e,
  );
  if (!isBraidError(error)) throw new Error(`expected a refusal, got ${error}`);
  return { kind: error.kind, text: String(error) };
}

/** A model of two layers with biases and norms. */
function small(
  change: (name: string, i: number) => number,
  more: Record<string, NewTestTensor> = {},
): Record<string, NewTestTensor> {
  const shapes: Record<string, number[]> = {
    "model.embed_tokens.weight": [6, 4],
    "model.layers.0.q_proj.weight": [4, 4],
    "model.layers.0.q_proj.bias": [4],
    "model.layers.0.up_proj.weight": [8, 4],
    "model.layers.0.norm.weight": [4],
    "model.layers.0.norm.bias": [4],
    "model.layers.1.q_proj.weight": [4, 4],
    "model.norm.weight": [4],
    "lm_head.weight": [6, 4],
  };
  const tensors = Object.entries(shapes).map(([name, shape]) => {
    const count = shape.reduce((a, b) => a * b, 1);
    return [
      name,
      { shape, data: Array.from({ length: count }, (_, i) => ((i * 7) % 5) - 2 + change(name, i)) },
    ] as const;
  });
  return { ...Object.fromEntries(tensors), ...more };
}

const wave = (i: number) => ((i * i * 3 + i) % 7) / 8;

describe("an adapter of a fine-tune", () => {
  test("of a rank that suffices folds back to it, in every dtype and with any alpha", () =>
    withTempFolder(async (temp) => {
      const want = readCheckpoint(join(projectRoot, fine));
      const before = readCheckpoint(join(projectRoot, base));
      for (const [i, [dtype, alpha, tolerance]] of (
        [
          ["F32", null, 1e-6],
          ["F32", 12, 1e-6],
          ["BF16", 300, 1e-2],
          ["F16", null, 2e-3],
        ] as const
      ).entries()) {
        const out = join(temp, `adapter-${i}`);
        const summary = await run(out, { rank: 200, dtype, alpha, saveRest: true });
        expect(summary.retained).toBeGreaterThan(1 - 1e-9);
        const got = await folded(out, base, join(temp, `folded-${i}`));
        expect([...got.keys()].sort()).toEqual([...want.keys()].sort());
        for (const [name, t] of want) {
          const delta = apart(t.values, before.get(name)!.values);
          expect(`${name} ${apart(got.get(name)!.values, t.values) <= tolerance * delta}`).toBe(`${name} true`);
        }
      }
    }));

  test("of a lower rank loses what it says that it loses", () =>
    withTempFolder(async (temp) => {
      const out = join(temp, "adapter");
      const summary = await run(out, { rank: 6 });
      const got = await folded(out, base, join(temp, "folded"));
      const want = readCheckpoint(join(projectRoot, fine));
      let [energy, lost] = [0, 0];
      expect(summary.modules.length).toBe(28);
      for (const m of summary.modules) {
        const name = `${m.module}.weight`;
        const away = apart(got.get(name)!.values, want.get(name)!.values) ** 2;
        expect(Math.abs(away - (1 - m.retained) * m.energy)).toBeLessThan(1e-5 * m.energy);
        energy += m.energy;
        lost += away;
      }
      expect(Math.abs(1 - lost / energy - summary.retained)).toBeLessThan(1e-5);
      expect(summary.lost).toContain("model.norm.weight");
      expect(summary.lost).toContain("lm_head.weight");
    }));

  test("is the same bytes with any number of workers, on Bun and Deno, exact and sketched", () =>
    withTempFolder(async (temp) => {
      const bytes = (out: string) =>
        Buffer.concat(
          ["adapter_model.safetensors", "adapter_config.json", "braid.json"].map((f) => readFileSync(join(out, f))),
        );
      for (const svd of ["exact", "sketch"] as const) {
        await run(join(temp, `inline-${svd}`), { rank: 9, svd });
        for (const [i, [program, workers]] of programs.entries()) {
          const out = join(temp, `${svd}-${i}`);
          const args = ["extract", base, fine, out, "--rank", "9", "--svd", svd, "--workers", workers, "--json", "-q"];
          const done = await start(args, { program });
          expect({ exit: done.exit, err: done.err }).toEqual({ exit: 0, err: "" });
          expect(JSON.parse(done.out).modules.map((m: { how: string }) => m.how)).toEqual(Array(28).fill(svd));
          expect(bytes(out).equals(bytes(join(temp, `inline-${svd}`)))).toBe(true);
        }
      }
    }));

  test("leaves out layers that are the base's, and names the others by their whole paths", () =>
    withTempFolder(async (temp) => {
      writeModel(
        join(temp, "base"),
        small(() => 0),
      );
      writeModel(
        join(temp, "fine"),
        small((name, i) => (name === "model.layers.1.q_proj.weight" ? wave(i) : 0)),
      );
      const summary = await run(join(temp, "out"), { rank: 4 }, join(temp, "base"), join(temp, "fine"));
      expect(summary.modules.map((m) => m.module)).toEqual(["model.layers.1.q_proj"]);
      expect([summary.unchanged, summary.lost]).toEqual([2, []]);
      const config = JSON.parse(readFileSync(join(temp, "out/adapter_config.json"), "utf8"));
      expect(config).toMatchObject({
        target_modules: ["model.layers.1.q_proj"],
        r: 4,
        lora_alpha: 4,
        bias: "none",
        modules_to_save: null,
      });
      const keys = [...readCheckpoint(join(temp, "out")).keys()];
      expect(keys.sort()).toEqual(
        ["A", "B"].map((side) => `base_model.model.model.layers.1.q_proj.lora_${side}.weight`),
      );
    }));

  test("tells what it loses; with saveRest nothing is lost", () =>
    withTempFolder(async (temp) => {
      writeModel(
        join(temp, "base"),
        small(() => 0),
      );
      const moved = (name: string, i: number) => (/q_proj|layers.0.norm.weight|embed/.test(name) ? wave(i) : 0);
      writeModel(join(temp, "fine"), small(moved));
      const both = [join(temp, "base"), join(temp, "fine")] as const;
      const bare = await run(join(temp, "bare"), { rank: 4 }, ...both);
      expect(bare.lost).toEqual([
        "model.embed_tokens.weight",
        "model.layers.0.norm.weight",
        "model.layers.0.q_proj.bias",
      ]);
      expect(bare.saved).toEqual([]);
      const whole = await run(join(temp, "whole"), { rank: 4, saveRest: true }, ...both);
      expect(whole.lost).toEqual([]);
      // The norm's bias did not change, but its module is saved as one.
      expect(whole.saved).toEqual([
        "model.embed_tokens.weight",
        "model.layers.0.norm.bias",
        "model.layers.0.norm.weight",
        "model.layers.0.q_proj.bias",
      ]);
      const config = JSON.parse(readFileSync(join(temp, "whole/adapter_config.json"), "utf8"));
      expect(config).toMatchObject({ bias: "all", modules_to_save: ["model.embed_tokens", "model.layers.0.norm"] });
      expect([...readCheckpoint(join(temp, "whole")).keys()]).toContain(
        "base_model.model.model.layers.0.q_proj.base_layer.bias",
      );
      const got = await folded(join(temp, "whole"), both[0], join(temp, "folded"));
      for (const [name, t] of readCheckpoint(both[1]))
        expect(`${name} ${apart(got.get(name)!.values, t.values) < 1e-5}`).toBe(`${name} true`);
    }));

  test("takes what patterns name; a head that they name is stored whole", () =>
    withTempFolder(async (temp) => {
      const some = await run(join(temp, "a"), {
        rank: 2,
        include: ["layers.*.self_attn"],
        exclude: ["k_proj", "layers.3"],
      });
      expect(some.modules.length).toBe(9);
      expect(some.modules.every((m) => /layers\.[012]\.self_attn\.[qvo]_proj$/.test(m.module))).toBe(true);
      expect(some.lost).toContain("model.layers.0.mlp.up_proj.weight");
      const head = await run(join(temp, "b"), { rank: 2, include: ["lm_head", "q_proj"] });
      expect(head.saved).toEqual(["lm_head.weight"]);
      const stored = readCheckpoint(join(temp, "b")).get("base_model.model.lm_head.weight")!;
      expect(stored.values).toEqual(readCheckpoint(join(projectRoot, fine)).get("lm_head.weight")!.values);
    }));

  test("of GPT-2, whose weights lie as [in, out]", () =>
    withTempFolder(async (temp) => {
      const onto = "test/peft/gpt2";
      const changed = {
        merge_method: "linear",
        models: [{ model: `${onto}+test/peft/transposed`, parameters: { weight: 1 } }],
        dtype: "float32",
      };
      await merge(requestFor(JSON.stringify(changed)), join(temp, "fine"), { overwrite: false }, testHost());
      const summary = await run(join(temp, "out"), { rank: 2 }, onto, join(temp, "fine"));
      // The embeddings were adapted too, and are no linear layer.
      expect(summary.lost).toEqual(["transformer.wte.weight"]);
      expect(summary.retained).toBeGreaterThan(1 - 1e-6);
      expect(JSON.parse(readFileSync(join(temp, "out/adapter_config.json"), "utf8")).fan_in_fan_out).toBe(true);
      const got = await folded(join(temp, "out"), onto, join(temp, "folded"));
      const want = readCheckpoint(join(temp, "fine"));
      for (const { module } of summary.modules) {
        const name = `${module}.weight`;
        expect(`${name} ${apart(got.get(name)!.values, want.get(name)!.values) < 1e-5}`).toBe(`${name} true`);
      }
    }));

  test("of a model with an adapter is that adapter's product again", () =>
    withTempFolder(async (temp) => {
      const tiny = "test/golden/inputs/tiny-base";
      const summary = await run(join(temp, "out"), { rank: 4 }, tiny, `${tiny}+test/peft/plain`);
      expect(summary.retained).toBeGreaterThan(1 - 1e-9);
      expect(summary.modules.every((m) => m.components === 4)).toBe(true);
    }));
});

describe("refused, and nothing left", () => {
  const cases: [
    what: string,
    models: [object, object],
    options: Partial<ExtractRequest> & { rank: number },
    kind: string,
    message: RegExp,
  ][] = [
    ["equal models", [small(() => 0), small(() => 0)], { rank: 2 }, "tensor-missing", /its linear layers are those of/],
    [
      "a weight of another shape",
      [
        small(() => 0),
        small((_, i) => wave(i), { "model.layers.0.up_proj.weight": { shape: [9, 4], data: Array(36).fill(1) } }),
      ],
      { rank: 2 },
      "shape-mismatch",
      /up_proj.weight": it is \[8, 4\].*\[9, 4\]/,
    ],
    [
      "a weight that the base lacks",
      [
        small(() => 0),
        small((_, i) => wave(i), { "model.layers.2.q_proj.weight": { shape: [2, 2], data: [1, 2, 3, 4] } }),
      ],
      { rank: 2 },
      "tensor-missing",
      /layers.2.q_proj.weight".*has no such tensor/,
    ],
    [
      "an infinity",
      [small(() => 0), small((name, i) => (name.includes("up_proj") && i === 5 ? Number.POSITIVE_INFINITY : wave(i)))],
      { rank: 2 },
      "non-finite",
      /up_proj.*1 NaN or infinite elements, the first at index 5/,
    ],
    [
      "whole numbers",
      [
        small(() => 0),
        small((_, i) => wave(i), {
          "model.layers.0.up_proj.weight": { dtype: "I64", shape: [8, 4], data: new Uint8Array(256) },
        }),
      ],
      { rank: 2 },
      "dtype-unsupported",
      /up_proj.weight": it is F32 in .* and I64/,
    ],
    [
      "rank 0",
      [small(() => 0), small((_, i) => wave(i))],
      { rank: 0 },
      "usage",
      /rank 0: it must be a whole number from 1/,
    ],
    ["alpha 0", [small(() => 0), small((_, i) => wave(i))], { rank: 1, alpha: 0 }, "usage", /alpha 0: it must be/],
    [
      "an adapter in fp8",
      [small(() => 0), small((_, i) => wave(i))],
      { rank: 1, dtype: "F8_E4M3" },
      "usage",
      /as F8_E4M3: PEFT loads/,
    ],
    [
      "a pattern that names nothing",
      [small(() => 0), small((_, i) => wave(i))],
      { rank: 1, include: ["qproj"] },
      "usage",
      /no tensor's name holds "qproj"/,
    ],
    [
      "patterns that leave no linear layer",
      [small(() => 0), small((_, i) => wave(i))],
      { rank: 1, include: ["lm_head"] },
      "tensor-missing",
      /no weights of linear layers/,
    ],
    [
      "factors too large for f16",
      [small(() => 0), small((_, i) => wave(i) * 1e12)],
      { rank: 2, dtype: "F16" },
      "overflow",
      /Cannot store the factors of .* as F16/,
    ],
    [
      "too little memory",
      [small(() => 0), small((_, i) => wave(i))],
      { rank: 2, memoryBytes: 64 << 20 },
      "memory-budget",
      /within 64 MiB: one worker needs \d+ MiB/,
    ],
  ];
  for (const [what, [b, f], options, kind, message] of cases)
    test(what, () =>
      withTempFolder(async (temp) => {
        const from = writeModel(join(temp, "base"), b as Record<string, NewTestTensor>);
        const model = writeModel(join(temp, "fine"), f as Record<string, NewTestTensor>);
        const refused = await refusal(run(join(temp, "out"), options, from, model));
        expect(refused.kind).toBe(kind);
        expect(refused.text).toMatch(message);
        expect(readdirSync(temp).sort()).toEqual(["base", "fine"]);
      }),
    );

  test("a base that is an adapter", async () => {
    const refused = await refusal(
      run("/nonexistent/out", { rank: 2 }, "test/golden/inputs/tiny-base+test/peft/plain", fine),
    );
    expect(refused).toMatchObject({
      kind: "usage",
      text: expect.stringContaining("PEFT loads adapters onto plain models"),
    });
  });

  test("an output that is there, unless it may be replaced", () =>
    withTempFolder(async (temp) => {
      const out = join(temp, "out");
      await run(out, { rank: 2, include: ["q_proj"] });
      expect((await refusal(run(out, { rank: 1, include: ["q_proj"] }))).kind).toBe("output-exists");
      await run(out, { rank: 1, include: ["q_proj"], overwrite: true });
      expect(JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8")).r).toBe(1);
      expect(readdirSync(temp)).toEqual(["out"]);
    }));

  test("when it is stopped", () =>
    withTempFolder(async (temp) => {
      const stopped = new AbortController();
      stopped.abort(new Error("enough"));
      const host = testHost({ signal: stopped.signal });
      await expect(extract(base, fine, { ...defaultExtraction, rank: 2 }, join(temp, "out"), host)).rejects.toThrow(
        "enough",
      );
      expect(existsSync(join(temp, "out"))).toBe(false);
    }));
});

describe("the command", () => {
  test("says what is kept, what is lost and what is least", () =>
    withTempFolder(async (temp) => {
      const { exit, out } = await start([
        "extract",
        base,
        fine,
        join(temp, "out"),
        "--rank",
        "4",
        "--include",
        "q_proj",
      ]);
      expect(exit).toBe(0);
      expect(out).toMatch(/Wrote an adapter of rank 4 for 4 linear layers/);
      expect(out).toMatch(/energy +\d+\.\d+ % of ‖ΔW‖² is in the adapter/);
      expect(out).toMatch(/lost +35 changed tensors: lm_head\.weight/);
    }));

  test("needs a rank, and has help", async () => {
    const { exit, err } = await start(["extract", base, fine, "/nonexistent/out"]);
    expect(exit).toBe(2);
    expect(err).toContain("--rank");
  });
});

test("patterns", () => {
  for (const [pattern, name, want] of [
    ["q_proj", "model.layers.0.q_proj.weight", true],
    ["layers.1*q_proj", "model.layers.1.attn.q_proj.weight", true],
    ["layers.1*q_proj", "model.layers.2.attn.q_proj.weight", false],
    ["q_proj*layers", "model.layers.1.q_proj.weight", false],
    ["*", "x", true],
    ["aa*a", "aa", false],
  ] as const)
    expect(`${pattern} ${name} ${matches(pattern, name)}`).toBe(`${pattern} ${name} ${want}`);
});

// An analysis of a large model that nobody has at hand: every number has a formula, so that pages can be compared with it.

import type { Analysis, DeltaStats, Group, PairStats, TensorGroup, TensorKind } from "../../src/analyze/analysis.ts";
import { type Phase, phases } from "../../src/kernel/phases.ts";
import type { ReportFacts } from "../../src/report-page/facts.ts";
import type { Manifest } from "../../src/report-page/manifest.ts";

const kinds: readonly (readonly [TensorKind, string, readonly number[]])[] = [
  ["attention q", "self_attn.q_proj.weight", [8192, 8192]],
  ["attention k", "self_attn.k_proj.weight", [1024, 8192]],
  ["attention v", "self_attn.v_proj.weight", [1024, 8192]],
  ["attention o", "self_attn.o_proj.weight", [8192, 8192]],
  ["mlp gate", "mlp.gate_proj.weight", [28672, 8192]],
  ["mlp up", "mlp.up_proj.weight", [28672, 8192]],
  ["mlp down", "mlp.down_proj.weight", [8192, 28672]],
];

function delta(count: number, norm: number, baseNorm: number): DeltaStats {
  const rms = norm / Math.sqrt(count);
  const counts = Array.from({ length: 14 }, (_, i) => Math.floor((count * 0.3) / 2 ** Math.abs(i - 9)));
  const signed = Array.from({ length: 64 }, (_, i) => Math.round(1000 * Math.exp(-(((i - 31.5) / 12) ** 2))));
  const half = signed.reduce((a, b) => a + b, 0) / 2;
  return {
    count,
    identicalTensors: 0,
    zeros: Math.floor(count / 10),
    nonFinite: 0,
    mean: rms * 0.8,
    max: rms * 30,
    std: rms * 0.6,
    norm,
    rms,
    ratio: norm / baseNorm,
    dominance: 0.25,
    nearZero: { value: 0.42, low: 0.41, high: 0.43 },
    quantiles: {
      p01: 0,
      p05: 0,
      p25: rms / 4,
      p50: rms / 2,
      p75: rms,
      p90: rms * 1.5,
      p95: rms * 2,
      p99: rms * 3,
      p999: rms * 5,
    },
    quantileError: 0,
    magnitudes: { first: -18, counts },
    signed: { range: 8, width: 0.25, counts: signed, below: 3, above: 4, negative: half + 3, positive: half + 4 },
  };
}

function group(count: number, strength: number, models: number, tensors = 1): Group {
  const baseNorm = 100;
  const pairs: PairStats[] = [];
  for (let a = 0; a < models; a++)
    for (let b = a + 1; b < models; b++)
      pairs.push({
        a,
        b,
        dot: 0,
        cosine: b === models - 1 ? 0.55 : 0.02 * (a + 1) - 0.03 * b,
        bothChange: Math.floor(count / 2),
        conflict: Math.min(0.5, 0.3 + strength / 5),
        conflictExpected: 0.5,
        conflictExcess: -0.01,
        overlap: 0.13,
        overlapExpected: 0.11,
        overlapExcess: 0.02,
        topShares: [0.2, 0.2],
      });
  return {
    tensors,
    parameters: count,
    base: { norm: baseNorm, mean: 0, nonFinite: 0 },
    models: Array.from({ length: models }, (_, m) => delta(count, baseNorm * strength * (1 + m / 4), baseNorm)),
    pairs,
    together: null,
  };
}

/** ‖δ‖/‖base‖ of the first model at a place. */
export const strengthAt = (layer: number, kind: number): number => (0.01 * (layer + 1)) / 80 + 0.002 * kind;

export const referenceNames = [
  "meta-llama/Llama-3.1-70B-Instruct",
  "organisation-with-a-long-name/Extraordinarily-Verbose-Model-Name-70B-Instruct-v0.3-DPO-merged-final-2",
  `../../"><script>alert("x")</script>/\u202egnp.exe/модель`,
] as const;

/** `names`: of the models that went in; the output comes after them. */
export function syntheticAnalysis(names: readonly string[] = referenceNames, layers = 80): Analysis {
  const models = names.length + 1;
  const tensors: TensorGroup[] = [];
  const outside: [string, TensorKind, number[]][] = [
    ["model.embed_tokens.weight", "embedding", [128256, 8192]],
    ["lm_head.weight", "head", [128256, 8192]],
    ["model.norm.weight", "norm", [8192]],
  ];
  for (const [name, kind, shape] of outside)
    tensors.push({
      ...group(
        shape.reduce((a, b) => a * b),
        0.004,
        models,
      ),
      name,
      shape,
      kind,
      stack: null,
      layer: null,
    });
  for (let layer = 0; layer < layers; layer++) {
    kinds.forEach(([kind, suffix, shape], k) => {
      const count = shape.reduce((a, b) => a * b);
      const name = `model.layers.${layer}.${suffix}`;
      tensors.push({ ...group(count, strengthAt(layer, k), models), name, shape, kind, stack: "model.layers", layer });
    });
  }
  const parameters = tensors.reduce((sum, t) => sum + t.parameters, 0);
  return {
    format: "braid-analysis-1",
    base: "meta-llama/Llama-3.1-70B",
    models: [...names, "out/merged"],
    parameters,
    topShare: 0.2,
    lineage: {
      models: names.map((_, model) => ({
        model,
        stored: "checkpoint",
        tensors: tensors.length,
        identical: 0,
        missing: [],
        distance: 0.01 + model / 1000,
        verdict: "descendant",
      })),
      duplicates: [],
      leftOut: [],
    },
    whole: group(parameters, 0.01, models, tensors.length),
    kinds: kinds.map(([kind], k) => ({ ...group(1e9, strengthAt(40, k), models, layers), kind })),
    layers: Array.from({ length: layers }, (_, layer) => ({
      ...group(8e8, strengthAt(layer, 3), models, kinds.length),
      stack: "model.layers",
      layer,
    })),
    tensors,
    modelCypher: [],
    advice: {
      classes: names.map(() => "small"),
      method: "dare_ties",
      dropRate: 0.9,
      sweep: [],
      weights: [],
      lambda: 1,
      filters: [],
      leaveOut: [],
      reasons: [],
    },
  };
}

const sha = (digit: string) => digit.repeat(64);

/** In `shards` files. */
export function syntheticManifest(names: readonly string[] = referenceNames, shards = 30): Manifest {
  return {
    format: "braid-manifest-1",
    version: "0.1.0",
    method: "dare_ties",
    compat: "none",
    seed: "42",
    recipe: `# </code></pre><script>alert(1)</script>\nmerge_method: dare_ties  # drop & elect\nbase_model: "a #b"\nmodels:\n${names.map((n) => `  - model: ${JSON.stringify(n)}\n    parameters: { weight: 0.3 }\n`).join("")}parameters:\n  drop_rate: 0.9\n`,
    recipeSha256: sha("a"),
    planSha256: sha("b"),
    kernelSha256: sha("c"),
    inputs: [...names, "meta-llama/Llama-3.1-70B"].map((model, i) => ({
      model,
      ...(i === 0 ? { revision: "0123456789abcdef0123456789abcdef01234567", license: "llama3.1" } : {}),
      files: Array.from({ length: shards }, (_, f) => ({
        name: `model-${String(f + 1).padStart(5, "0")}-of-00030.safetensors`,
        byteLength: 4_700_000_000,
        headerSha256: sha("d"),
      })),
    })),
    files: Array.from({ length: shards }, (_, f) => ({
      name: `model-${String(f + 1).padStart(5, "0")}-of-00030.safetensors`,
      byteLength: 4_700_000_000,
      sha256: sha("e"),
    })),
    tensors: 563,
    parameters: 70_553_706_496,
    dropRates: names.map((model, i) => ({ model, asked: 0.9, actual: 0.9 + i * 1e-6 })),
    densities: [{ model: names[0]!, asked: null, actual: 0.2005 }],
    nonFinite: [{ model: names.at(-1)!, tensor: "model.layers.3.<b>mlp</b>.weight", count: 1234, first: 56789 }],
    overflow: 2,
    methodFacts: [
      {
        fact: "rank",
        tensors: 560,
        mean: 37.25,
        least: { tensor: "model.layers.0.self_attn.k_proj.weight", value: 3 },
        most: { tensor: "model.layers.79.mlp.down_proj.weight", value: 512 },
      },
    ],
  };
}

export function syntheticFacts(names: readonly string[] = referenceNames, layers = 80): ReportFacts {
  const analysis = syntheticAnalysis(names, layers);
  const none = Object.fromEntries(phases.map((phase) => [phase, 0])) as Record<Phase, number>;
  const spent = { ...none, read: 4.5, mask: 1, merge: 9, write: 3 };
  return {
    title: "merged-70b",
    manifest: syntheticManifest(names, layers < 10 ? 2 : 30),
    inputs: [
      ...names.map((reference, i) => ({
        reference,
        role: "model" as const,
        ...(i === 0 ? { license: "llama3.1" } : {}),
      })),
      { reference: analysis.base, role: "base" },
    ],
    outputDtypes: [
      { dtype: "BF16", tensors: 560, elements: 70_000_000_000 },
      { dtype: "F32", tensors: 3, elements: 553_706_496 },
    ],
    comparison: {
      found: {
        analysis,
        output: names.length,
        standIn: false,
        inputsTogether: {
          changedBy: [1, 2, 3, 4],
          signAgreement: 0.512,
          mixed: 0.61,
          massAgreement: 0.57,
          interference: 0.43,
          imbalance: 1.5,
        },
      },
    },
    absorbed: {
      found: {
        tensors: analysis.tensors.map((t, i) => ({
          name: t.name,
          elements: t.parameters,
          changed: Math.floor(t.parameters * 0.27),
          absorbed: Math.floor(t.parameters * 0.27 * 0.1 * ((i % 80) / 80)),
        })),
        leftOut: 3,
        every: 1,
      },
    },
    timings: {
      found: {
        seconds: 312.4,
        workers: 2,
        bytesRead: 564e9,
        bytesWritten: 141e9,
        workerSeconds: { read: 201, compute: 350, write: 66 },
        peakMemoryBytes: 230e6,
        plannedPeakBytes: 250e6,
        profile: {
          seconds: 312.4,
          steps: [{ name: "merge", seconds: 300 }],
          beside: { hash: 30, flush: 20 },
          phases: { merge: spent, survey: { ...none, read: 1, survey: 2 } },
          workers: [
            { worker: 0, tasks: 10, busy: 280, start: 0.1, wait: 2, phases: spent },
            { worker: 1, tasks: 10, busy: 280, start: 0.1, wait: 3, phases: spent },
          ],
          fused: null,
        },
      },
    },
    warnings: [],
  };
}

// The task-vector family: out = base + λ · combine( w_i · s_i · keep_i( x_i − base ) ). Task arithmetic, TIES, DARE-linear
// and DARE-TIES differ only in how they keep and combine; each has a file that says so and calls `compileDelta`.

import { fail, quote } from "../errors.ts";
import { maskRescale } from "../kernel/mask.ts";
import type {
  Combine,
  Keep,
  MagnitudeKeep,
  Operand,
  Scalar,
  Survey,
  Term,
  ThresholdOperand,
  VoteOperand,
} from "../kernel/program.ts";
import { dareOf } from "./dare.ts";
import { holdersOf } from "./holders.ts";
import type { Compiled, MethodInput, MethodTensor, SurveyResult } from "./method.ts";
import { overlapNotes, randomDrop } from "./random.ts";
import { rankKeep, topOfRows } from "./rows.ts";
import { choiceOf, densityOf, flagOf, gammaOf, numberOf, weightSum, weightsOf } from "./weights.ts";

/** Of one tensor; that others are whole is what filters are for. */
export const nothingDropped = "every density is 1, so nothing is dropped or trimmed";

/** What multiplies the survivors of a delta (methods.md §6). */
export const rescales = ["exact", "l1", "l2", "linf", "q", "none"] as const;
export type Rescale = (typeof rescales)[number];

export interface DeltaStyle {
  readonly sparsify: "none" | "random" | "magnitude" | "rank";
  readonly elect: boolean;
  /** Defaults of the recipe's parameters. */
  readonly normalize: boolean;
  /** What `rescale: true` means, and whether it is the default. */
  readonly rescale: Rescale;
  readonly density: number | undefined;
  /** For a trim that is a window: the default of `gamma`, the fraction of the largest that drops as well. */
  readonly gamma?: number;
  /** Weight of each model when the recipe gives none to any: 1/N or 1. */
  readonly weight: "mean" | "one";
}

/** Above every key there is: what a density of 0, which only mergekit takes, keeps. */
const nothing = { above: 0x7fffffff, equalBefore: 0 } as const;

interface Part {
  readonly density: number;
  readonly gamma?: number;
  readonly input: MethodInput;
  readonly weight: number;
  readonly keep: Keep;
  readonly rescale: Rescale;
  readonly fixedScale: number;
}

export function compileDelta(tensor: MethodTensor, style: DeltaStyle): Compiled {
  const { base, others } = holdersOf(tensor);
  const weights = weightsOf(tensor, others, style.weight === "mean" ? 1 / Math.max(1, tensor.models) : 1);
  const normalize = flagOf(tensor, "normalize", style.normalize);
  const lambda = numberOf(tensor, "lambda", 1);
  const rescale = rescaleOf(tensor, style);
  const scope = scopeOf(tensor);
  const combine = style.elect ? electionOf(tensor, normalize) : ({ op: "sum" } as const);
  const divisor = normalize && combine.op === "sum" && others.length > 0 ? weightSum(tensor, weights) : 1;

  const surveys: Survey[] = [];
  const notes: string[] = [];
  const inputs = tensor.inputs.map((i) => i.dtype);
  const parts = others.map((input, k) => partOf(tensor, style, base, input, weights[k]!, rescale));

  // A magnitude trim needs the key of its k-th largest delta: one operand per model that trims. By rows, workers see to it.
  const wanted = parts.map((p) => trimOf(tensor, style, p, base.input));
  const trims = scope === "row" ? wanted.map(() => null) : wanted;
  const operands = trims.filter((t): t is ThresholdOperand => t !== null);
  if (operands.length > 0) surveys.push({ op: "threshold", inputs, operands, ...(scope === "model" ? { scope } : {}) });
  let trimmed = 0;
  const keeps = parts.map((p, k): Keep => {
    if (p.density === 0 && style.sparsify !== "random") return { magnitude: nothing };
    if (scope === "row" && wanted[k]) return { ...p.keep, rows: topOfRows(tensor, wanted[k]) };
    if (!trims[k]) return p.keep;
    const magnitude = trimOfSurvey(trimmed++, p.gamma !== undefined);
    return { ...p.keep, magnitude };
  });

  // Norm-matching rescales compare the delta with what survives of it.
  const matched: { term: number; norm: "l1" | "l2" | "linf" }[] = [];
  const scales = parts.map((p, k): Scalar => {
    const survivesWhole = keepsAll(keeps[k]!);
    if (p.rescale === "l1" || p.rescale === "l2" || p.rescale === "linf") {
      if (survivesWhole) return 1;
      matched.push({ term: k, norm: p.rescale });
      return { from: `scale.${matched.length - 1}` };
    }
    return survivesWhole && p.rescale === "exact" ? 1 : p.fixedScale;
  });
  if (matched.length > 0) {
    const pairs = matched.flatMap(({ term }): Operand[] => {
      const input = parts[term]!.input.input;
      return [
        { input, base: base.input, keep: {} },
        { input, base: base.input, keep: keeps[term]! },
      ];
    });
    surveys.push({ op: "norms", inputs, operands: pairs });
  }
  if (
    style.sparsify !== "none" &&
    parts.length > 0 &&
    parts.every((p, k) => keepsAll(keeps[k]!) && p.fixedScale === 1)
  ) {
    notes.push(nothingDropped);
  }

  if (parts.some((p) => p.gamma !== undefined && p.density < 1 && p.density + p.gamma > 1)) {
    notes.push("density + gamma is above 1, so fewer of the largest drop than gamma says");
  }

  if (style.sparsify === "random") {
    const total = normalize || others.length < 2 ? null : weights.reduce((a, b) => a + b, 0);
    notes.push(...doubts(tensor, parts, rescale, total));
    notes.push(...overlapNotes(tensor, (i) => 1 - densityOf(tensor, i, tensor.mergekit ? 1 : style.density)));
  }

  // Where all w·s are one number it goes into λ, and the deltas themselves are added and elected: those of bf16 models are exact
  // in f32, so deltas that cancel sum to zero instead of to the rounding of a product.
  const weight = parts[0]?.weight ?? 1;
  const scale = scales[0] ?? 1;
  const uniform = typeof scale === "number" && parts.every((p, k) => p.weight === weight && scales[k] === scale);
  const common = uniform ? scale * (combine.op === "elect" && combine.divide ? 1 : weight) : 1;
  const terms = parts.map(
    (p, k): Term => ({
      input: p.input.input,
      weight: uniform ? 1 : p.weight,
      scale: uniform ? 1 : scales[k]!,
      keep: keeps[k]!,
    }),
  );
  if (combine.op === "elect" && typeof combine.zero !== "string" && terms.length > 0) {
    const operands = terms.map(({ input, keep, weight, scale }): VoteOperand => {
      // Weights of these methods are numbers.
      const vote = combine.by === "weighted" ? (weight as number) : 1;
      return { input, base: base.input, keep, weight: vote, factor: scale };
    });
    surveys.push({ op: "signs", inputs, operands, by: combine.by });
  }
  return {
    surveys,
    program: {
      op: "merge",
      inputs,
      out: tensor.out,
      base: base.input,
      terms,
      combine,
      lambda: (lambda * common) / divisor,
    },
    ...(scope === "model" ? { shared: sharedOf(parts, trims) } : {}),
    solve: { norms: matched.map((m) => m.norm), guard: tensor.mergekit ? 1e-7 : 0 },
    notes,
  };
}

/** A trim, or a window, by the numbers of the survey's operand `i`. */
function trimOfSurvey(i: number, window: boolean): MagnitudeKeep {
  const ends = { above: { from: `above.${i}` }, equalBefore: { from: `equalBefore.${i}` } };
  if (!window) return ends;
  const top = { key: { from: `top.${i}` }, equalBefore: { from: `topBefore.${i}` } };
  return { ...ends, equalFrom: { from: `equalFrom.${i}` }, top };
}

function keepsAll(keep: Keep): boolean {
  return keep.random === undefined && keep.magnitude === undefined && keep.rows === undefined;
}

/** Scalars of the family: trim thresholds and norm-matching scales. */
export function solveDelta(
  solve: Readonly<Record<string, unknown>>,
  results: readonly SurveyResult[],
): Record<string, number> {
  const scalars: Record<string, number> = {};
  const guard = solve.guard as number;
  for (const r of results) {
    if (r.op === "threshold") {
      r.thresholds.forEach((t, i) => {
        scalars[`above.${i}`] = t.key;
        scalars[`equalBefore.${i}`] = t.equalBefore;
        if (!t.top) return;
        scalars[`equalFrom.${i}`] = t.equalFrom ?? 0;
        scalars[`top.${i}`] = t.top.key;
        scalars[`topBefore.${i}`] = t.top.equalBefore;
      });
    } else if (r.op === "signs") {
      scalars.majority = Math.sign(r.positive - r.negative);
    } else if (r.op === "norms") {
      (solve.norms as ("l1" | "l2" | "linf")[]).forEach((norm, i) => {
        const value = (n: { l1: number; l2: number; max: number }) =>
          norm === "l1" ? n.l1 : norm === "l2" ? Math.sqrt(n.l2) : n.max;
        const whole = value(r.norms[2 * i]!);
        const kept = value(r.norms[2 * i + 1]!);
        scalars[`scale.${i}`] = kept > guard ? whole / kept : 1;
      });
    }
  }
  return scalars;
}

function rescaleOf(tensor: MethodTensor, style: DeltaStyle): Rescale {
  const value = tensor.parameters.rescale;
  // mergekit's only reachable rule is the l1 match, whatever the sparsifier.
  const meant: Rescale = tensor.mergekit || style.sparsify === "magnitude" ? "l1" : "exact";
  if (value === undefined || value === null) return style.rescale === "none" ? "none" : meant;
  if (value === true || value === "true") return meant;
  if (value === false || value === "false") return "none";
  const rule = choiceOf(tensor, "rescale", rescales, "none");
  if (style.sparsify === "magnitude" && (rule === "exact" || rule === "q")) {
    fail(
      "recipe-parameter",
      `Cannot use rescale ${rule} for ${quote(tensor.name)}: 1/density is not unbiased after a magnitude trim`,
      {
        hint: "Use l1, l2, linf or none.",
      },
    );
  }
  if (style.sparsify === "rank" && rule === "q") {
    fail(
      "recipe-parameter",
      `Cannot use rescale q for ${quote(tensor.name)}: each element has a probability of its own`,
      {
        hint: "Use exact, l1, l2, linf or none.",
      },
    );
  }
  return rule;
}

export const scopes = ["tensor", "model", "row"] as const;

/** What the trim ranks together. */
function scopeOf(tensor: MethodTensor): (typeof scopes)[number] {
  return choiceOf(tensor, "scope", scopes, "tensor");
}

/** What tensors that are ranked together must have in common. */
function sharedOf(parts: readonly Part[], trims: readonly (ThresholdOperand | null)[]) {
  const shared: Record<string, number | string> = {};
  parts.forEach((p, k) => {
    const trim = trims[k];
    shared[`the density of ${quote(p.input.model)}`] = trim?.density ?? (p.density === 0 ? 0 : 1);
    if (p.gamma !== undefined) shared[`the gamma of ${quote(p.input.model)}`] = p.gamma;
    if (trim) shared.ties = trim.ties;
    if (trim) shared.trim_basis = trim.of === "nonzero" ? "survivors" : "all";
  });
  return shared;
}

function electionOf(tensor: MethodTensor, normalize: boolean): Combine {
  const by = choiceOf(tensor, "elect", ["weighted", "unweighted", "count"] as const, "weighted");
  const asked = choiceOf(
    tensor,
    "zero",
    ["drop", "positive", "majority"] as const,
    tensor.mergekit ? "positive" : "drop",
  );
  const zero = asked === "majority" ? ({ from: "majority" } as const) : asked;
  // `combine: mean` divides by the agreeing Σw; with equal weights that is the disjoint mean of the TIES paper.
  const combine = choiceOf(tensor, "combine", ["sum", "mean"] as const, normalize ? "mean" : "sum");
  return { op: "elect", by, zero, divide: combine === "mean" };
}

function partOf(
  tensor: MethodTensor,
  style: DeltaStyle,
  base: MethodInput,
  input: MethodInput,
  weight: number,
  rescale: Rescale,
): Part {
  const whole = { input, weight, rescale, keep: {}, fixedScale: 1 } as const;
  // A `dare` step comes before a trim; methods that drop by themselves have none.
  const { keep: left, scale } = dareOf(tensor, input, base);
  if (style.sparsify === "none") return { ...whole, density: 1, keep: left, fixedScale: scale };
  const density = densityOf(tensor, input, tensor.mergekit ? 1 : style.density);
  if (style.sparsify === "magnitude") {
    const trim = { ...whole, keep: left, fixedScale: scale } as const;
    if (style.gamma === undefined) return { ...trim, density };
    // mergekit keeps ⌊d·n⌋ even where that is none.
    const none = tensor.mergekit && Math.floor(density * tensor.count) === 0;
    return { ...trim, density: none ? 0 : density, gamma: gammaOf(tensor, input, style.gamma) };
  }
  if (style.sparsify === "rank") {
    const keep = density === 1 || density === 0 ? {} : rankKeep(tensor, input, density, rescale === "exact");
    return { ...whole, density, keep };
  }
  const random = randomDrop(tensor, input, (i) => 1 - densityOf(tensor, i, tensor.mergekit ? 1 : style.density));
  if (!random) return { ...whole, density };
  const keep: Keep = { random };
  if (rescale === "q") return { ...whole, density, keep, fixedScale: 1 / divisorOf(tensor) };
  return { ...whole, density, keep, fixedScale: rescale === "exact" ? maskRescale(random.threshold) : 1 };
}

/** q of DAREx (Deng et al. 2025, arXiv 2410.09344). */
function divisorOf(tensor: MethodTensor): number {
  const { q, q_file } = tensor.parameters;
  if (typeof q === "number" && q > 0 && Number.isFinite(q)) return q;
  const found = q === undefined || q === null ? (q_file ? `not in ${quote(String(q_file))}` : "not given") : String(q);
  fail(
    "recipe-parameter",
    `Cannot rescale ${quote(tensor.name)} by 1/q: q is ${found}, it must be above 0 (between the density and 1)`,
    { hint: "Set `q`, or a `q_file` that has this tensor." },
  );
}

/** What is allowed but seldom meant (methods.md §1.6, §8.2), in words without numbers that differ by tensor. */
function doubts(tensor: MethodTensor, parts: readonly Part[], rescale: Rescale, weights: number | null): string[] {
  const said: string[] = [];
  const dropping = parts.filter((p) => p.keep.random);
  if (dropping.some((p) => p.density < 0.05)) {
    said.push("a drop rate is above 0.95: few fine-tunes stand that, see how the merged model does at 0.9");
  }
  if (rescale === "q" && dropping.length > 0) {
    const q = divisorOf(tensor);
    if (q > 1) said.push("q is above 1, so what survives is made smaller");
    const least = Math.min(...dropping.map((p) => p.density));
    // A density written as drop_rate is 1 − p, rounded.
    if (q < least * (1 - 1e-12))
      said.push("q is below 1 − p, so what survives is amplified beyond the unbiased 1/(1 − p)");
  } else if (rescale !== "q" && (tensor.parameters.q ?? tensor.parameters.q_file ?? null) !== null) {
    said.push("q has no effect without rescale: q");
  }
  // A weight of up to 1 for each task is how task vectors are usually added; beyond that the delta itself is scaled.
  if (weights !== null && (Math.abs(weights) > parts.length || Math.abs(weights) < 0.1)) {
    said.push("the weights sum to more than the number of models, or to nearly nothing, and are not normalised");
  }
  return said;
}

function trimOf(tensor: MethodTensor, style: DeltaStyle, part: Part, base: number): ThresholdOperand | null {
  const shared = { input: part.input.input, base, keep: part.keep };
  const rounding = tensor.mergekit ? "floor" : "nearest";
  const ties = choiceOf(tensor, "ties", ["include", "exact"] as const, tensor.mergekit ? "exact" : "include");
  if (style.sparsify === "magnitude") {
    const { density, gamma } = part;
    if (density === 1 || density === 0) return null;
    if (gamma !== undefined) return { ...shared, density, of: "elements", rounding, ties, gamma };
    // After a `dare` step the fraction is that of the survivors: of all elements no more may be left.
    const of = part.keep.random ? basisOf(tensor) : "elements";
    return { ...shared, density, of, rounding, ties };
  }
  const trim = tensor.parameters.trim;
  if (style.sparsify === "none" || !style.elect || trim === undefined || trim === null || trim === 1) return null;
  if (typeof trim !== "number" || !(trim > 0 && trim <= 1)) {
    fail(
      "recipe-parameter",
      `Cannot trim ${quote(tensor.name)} to ${String(trim)}: trim is the fraction kept, in (0, 1]`,
    );
  }
  return { ...shared, density: trim, of: basisOf(tensor), rounding, ties };
}

function basisOf(tensor: MethodTensor): "nonzero" | "elements" {
  const basis = choiceOf(tensor, "trim_basis", ["survivors", "all"] as const, "survivors");
  return basis === "survivors" ? "nonzero" : "elements";
}

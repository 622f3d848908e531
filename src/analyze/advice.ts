// From what was measured to what to begin with. Every rule has a name, says what it found and where it comes from; docs/analyze.md
// lists them. None knows what the models are for: the first thing to do with the answer is to evaluate it.

import type { Advice, DeltaClass, Group, Lineage, Reason, TensorGroup, TensorKind } from "./analysis.ts";
import { duplicateCosine, farFromBase } from "./lineage.ts";

/** Everything that the rules look at. */
export interface Findings {
  readonly models: readonly string[];
  readonly parameters: number;
  readonly lineage: Lineage;
  readonly whole: Group;
  readonly kinds: readonly (Group & { readonly kind: TensorKind })[];
  readonly tensors: readonly Pick<TensorGroup, "name" | "kind">[];
}

/** Mean |δ| from which on DARE needs care, and from which on it fails. */
export const cautionFrom = 1e-3;
export const largeFrom = 1e-2;
/** Share near zero above which deltas are sparse already. */
export const sparseAbove = 0.7;
export const similarCosine = 0.5;
export const opposedCosine = -0.2;
export const stronglyOpposedCosine = -0.5;
/** Disagreeing signs beyond what Gaussian deltas of the same cosine have. */
export const excessConflict = 0.05;
export const imbalanceAbove = 10;
/** Mean |b| of the models that the classes come from is about 0.02; above this, classes say too much. */
export const largeWeights = 0.04;
const smallModel = 1e9;
const largeModel = 30e9;

const dare = "DARE (Yu et al. 2024, arXiv 2311.03099)";
const guide = "drop-rate and method tables of the guides to DARE";
const mergeLm = "settings that the authors of DARE published (MergeLM, issue 39)";
const ours = "Braid";

/** Names of the rules, in the order in which they are asked. */
export const rules = [
  "base",
  "identical",
  "non-finite",
  "duplicate",
  "delta-class",
  "scale",
  "imbalance",
  "method",
  "drop-rate",
  "sparse",
  "weights",
  "embeddings",
  "undropped",
] as const;
export type Rule = (typeof rules)[number];

type Say = (rule: Rule, about: Reason["about"], level: Reason["level"], text: string, source: string) => void;

export function classOf(mean: number): DeltaClass {
  if (mean === 0) return "none";
  if (mean < cautionFrom) return "small";
  return mean < largeFrom ? "caution" : "large";
}

export function advise(found: Findings): Advice {
  const reasons: Reason[] = [];
  const say: Say = (rule, about, level, text, source) => void reasons.push({ rule, about, level, text, source });
  const leaveOut = leftOut(found, say);
  const used = found.models.flatMap((_, m) => (leaveOut.includes(m) ? [] : [m]));
  const doubtful = doubtBase(found, used, say);
  const classes = found.whole.models.map((m) => classOf(m?.mean ?? 0));
  const worst = worstOf(used.map((m) => classes[m]!));
  tellClasses(found, used, classes, say);
  const scaled = tellScale(found, used, worst, say);
  tellImbalance(found, say);
  const method = doubtful ? "linear" : methodFor(found, used, worst, say);
  const drops = method.startsWith("dare");
  const dropRate = drops ? dropRateFor(found, used, worst, say) : null;
  const { weights, lambda } = weightsFor(method, used, found.models.length, say);
  return {
    classes,
    method,
    dropRate,
    sweep: dropRate === null ? [] : sweepFor(worst, dropRate, scaled),
    weights,
    lambda,
    filters: dropRate === null ? [] : filtersFor(found, used, dropRate, say),
    leaveOut,
    reasons,
  };
}

const nameOf = ({ models }: Findings, m: number) => JSON.stringify(models[m]!);
const list = (names: readonly string[]) => names.join(names.length === 2 ? " and " : ", ");
const number = (x: number) => String(Number(x.toPrecision(3)));

function leftOut(found: Findings, say: Say): number[] {
  const { lineage, whole } = found;
  const out = new Set<number>();
  for (const { model, verdict } of lineage.models) {
    if (verdict !== "identical") continue;
    out.add(model);
    say(
      "identical",
      "models",
      "warning",
      `${nameOf(found, model)} is the base: it changes nothing. Leave it out.`,
      ours,
    );
  }
  for (const { a, b, cosine } of lineage.duplicates) {
    if (out.has(a) || out.has(b)) continue;
    out.add(b);
    const names = `${nameOf(found, a)} and ${nameOf(found, b)}`;
    const text = `${names} have a cosine of ${number(cosine)}, above ${duplicateCosine}: they are nearly one fine-tune, which would count twice. Leave one out.`;
    say("duplicate", "models", "warning", text, ours);
  }
  whole.models.forEach((m, i) => {
    if (!m || m.nonFinite === 0) return;
    const text = `${nameOf(found, i)} has ${m.nonFinite} NaN or infinite elements: a merge stops at them unless --non-finite says otherwise.`;
    say("non-finite", "models", "warning", text, ours);
  });
  if (whole.base.nonFinite > 0) {
    const text = `The base has ${whole.base.nonFinite} NaN or infinite elements: a merge stops at them unless --non-finite keep is given.`;
    say("non-finite", "base", "warning", text, ours);
  }
  return [...out].sort((a, b) => a - b);
}

function doubtBase(found: Findings, used: readonly number[], say: Say): boolean {
  const far = found.lineage.models.filter(({ model, verdict }) => used.includes(model) && verdict === "doubtful");
  for (const { model, distance } of far) {
    const text = `${nameOf(found, model)} is ${number(distance!)} of ‖base‖ away, above ${farFromBase}; unrelated weights are 1.4 away: the base is not what it was trained from, and methods on deltas have nothing to work on.`;
    say("base", "base", "warning", text, `${ours}; ${dare}: a wrong base breaks DARE at any drop rate`);
  }
  return far.length > 0;
}

function worstOf(classes: readonly DeltaClass[]): DeltaClass {
  const order: readonly DeltaClass[] = ["none", "small", "caution", "large"];
  return classes.reduce<DeltaClass>((worst, c) => (order.indexOf(c) > order.indexOf(worst) ? c : worst), "none");
}

const verdicts: Readonly<Record<Exclude<DeltaClass, "none">, string>> = {
  small: `below ${cautionFrom}, as fine-tunes have: DARE may drop most of it`,
  caution: `between ${cautionFrom} and ${largeFrom}: DARE at low drop rates only, and to be evaluated`,
  large: `${largeFrom} or more, as after continued pre-training: DARE fails, from a drop rate of 0.1 on`,
};

function tellClasses(found: Findings, used: readonly number[], classes: readonly DeltaClass[], say: Say): void {
  for (const m of used) {
    const c = classes[m]!;
    if (c === "none") continue;
    const text = `${nameOf(found, m)} has a mean |δ| of ${number(found.whole.models[m]!.mean)}, ${verdicts[c]}.`;
    say("delta-class", "class", c === "small" ? "note" : "warning", text, `${dare}; DAREx (arXiv 2410.09344), Table 8`);
  }
}

/** Whether weights are so large that the classes, which are absolute, may not fit them. */
function tellScale(found: Findings, used: readonly number[], worst: DeltaClass, say: Say): boolean {
  const { mean } = found.whole.base;
  if (mean < largeWeights || (worst !== "caution" && worst !== "large")) return false;
  const most = Math.max(...used.map((m) => found.whole.models[m]!.mean));
  const text = `Mean |base| is ${number(mean)}, above ${largeWeights}: the classes come from large models, whose is about 0.02. Here mean |δ| is ${number((100 * most) / mean)} % of it at most; high drop rates may well do.`;
  say("scale", "class", "note", text, ours);
  return true;
}

function tellImbalance(found: Findings, say: Say): void {
  const imbalance = found.whole.together?.imbalance ?? null;
  if (imbalance === null || imbalance <= imbalanceAbove) return;
  const norms = found.whole.models.map((m) => m?.norm ?? 0);
  const largest = norms.indexOf(Math.max(...norms));
  const text = `‖δ‖ of ${nameOf(found, largest)} is ${number(imbalance)} times the smallest: sums, and elections even more, will be its own. Give it a smaller weight.`;
  say("imbalance", "weights", "warning", text, ours);
}

function methodFor(found: Findings, used: readonly number[], worst: DeltaClass, say: Say): string {
  const tell = (method: string, text: string, source: string, level: Reason["level"] = "note") => {
    say("method", "method", level, text, source);
    return method;
  };
  if (used.length === 0) return tell("none", "There is nothing to merge.", ours, "warning");
  if (used.length === 1)
    return tell("task_arithmetic", "One model: task_arithmetic scales its changes, which is all there is to do.", ours);
  const pairs = found.whole.pairs.filter(({ a, b }) => used.includes(a) && used.includes(b));
  const cosines = pairs.flatMap(({ cosine }) => cosine ?? []);
  const [least, most] = [Math.min(...cosines), Math.max(...cosines)];
  const between =
    cosines.length > 1 ? `Cosines of ${number(least)} to ${number(most)}` : `A cosine of ${number(least)}`;
  const excess = Math.max(...pairs.flatMap(({ conflictExcess }) => conflictExcess ?? []));
  if (least < stronglyOpposedCosine) {
    const text = `${between}: models below ${stronglyOpposedCosine} undo each other's training. Is one of them meant to be subtracted?`;
    say("method", "method", "warning", text, ours);
  }
  if (least > similarCosine)
    return tell(
      "linear",
      `${between}, above ${similarCosine}: the models learned much the same, so their average keeps it.`,
      guide,
    );
  if (worst === "large")
    return used.length === 2
      ? tell("linear", "Two models with large deltas: an average, because dropping at random would break them.", guide)
      : tell(
          "ties",
          `${used.length} models with large deltas: TIES elects signs without dropping at random.`,
          `${guide}; TIES (Yadav et al. 2023, arXiv 2306.01708)`,
        );
  const stored = found.lineage.models.filter(({ model }) => used.includes(model));
  if (stored.every((m) => m.stored === "adapter"))
    return tell("dare_linear", "All models are adapters: DARE at a lower drop rate, and a sum.", guide);
  if (used.length === 2 && least < opposedCosine)
    return tell("dare_ties", `${between}, below ${opposedCosine}: opposed models need an election of signs.`, guide);
  if (used.length === 2 && excess > excessConflict)
    return tell(
      "dare_ties",
      `Signs disagree ${number(excess)} more often than the cosine explains, above ${excessConflict}: an election settles them.`,
      ours,
    );
  if (used.length === 2)
    return tell("dare_linear", `${between}: two models that learned different things, whose sum holds both.`, guide);
  return tell(
    "dare_ties",
    `${between} among ${used.length} models: with three or more, signs collide at most places, and an election settles them.`,
    guide,
  );
}

function dropRateFor(found: Findings, used: readonly number[], worst: DeltaClass, say: Say): number {
  const tell = (rule: Rule, p: number, text: string, source: string) => {
    say(rule, "drop rate", "note", text, source);
    return p;
  };
  const { parameters } = found;
  const adapters = found.lineage.models.filter((m) => used.includes(m.model)).every((m) => m.stored === "adapter");
  let p: number;
  if (worst === "caution")
    p = tell(
      "drop-rate",
      0.3,
      "p = 0.3 because of the size of the deltas; the authors merged at 0.1 to 0.6 mostly.",
      mergeLm,
    );
  else if (adapters) p = tell("drop-rate", 0.8, "p = 0.8 for adapters: 0.7 to 0.85 is the usual range.", guide);
  else if (parameters < smallModel)
    p = tell(
      "drop-rate",
      0.8,
      "p = 0.8: smaller models bear less dropping, and this one has less than 1 B parameters.",
      `${dare}`,
    );
  else if (parameters >= largeModel)
    p = tell(
      "drop-rate",
      0.9,
      "p = 0.9, and up to 0.95 or more: larger models bear more dropping.",
      `${guide}; ${dare}`,
    );
  else
    p = tell(
      "drop-rate",
      0.9,
      "p = 0.9 to begin with; 0.85 for short fine-tunes. For merging the authors used 0.1 to 0.6 mostly: try 0.5 as well.",
      `${guide}; ${mergeLm}`,
    );
  const shares = used.map((m) => found.whole.models[m]!.nearZero.value);
  const [most] = [...shares].sort((a, b) => b - a);
  if (most! <= sparseAbove) return p;
  const text = `${number(100 * most!)} % of the deltas of ${nameOf(found, used[shares.indexOf(most!)]!)} are below 1 % of the largest, above ${100 * sparseAbove} %: they are sparse already, and dropping helps less. p = ${Math.min(p, 0.7)}.`;
  return tell("sparse", Math.min(p, 0.7), text, guide);
}

function sweepFor(worst: DeltaClass, p: number, scaled: boolean): number[] {
  if (worst === "caution") return scaled ? [0.1, 0.3, 0.5, 0.7, 0.9] : [0.1, 0.3, 0.5];
  return p < 0.8 ? [0.5, 0.6, 0.7, 0.8] : p < 0.9 ? [0.5, 0.7, 0.8, 0.85, 0.9] : [0.5, 0.8, 0.85, 0.9, 0.95];
}

function weightsFor(
  method: string,
  used: readonly number[],
  models: number,
  say: Say,
): { weights: number[]; lambda: number } {
  const each = (w: number) => Array.from({ length: models }, (_, m) => (used.includes(m) ? w : 0));
  const n = used.length;
  if (n === 0) return { weights: each(0), lambda: 1 };
  if (method === "linear") {
    say("weights", "weights", "note", `Weights of 1/${n}: an average.`, guide);
    return { weights: each(1 / n), lambda: 1 };
  }
  if (n === 1) return { weights: each(1), lambda: 1 };
  if (method === "ties") {
    say(
      "weights",
      "weights",
      "note",
      "Weights of 1 and λ = 1: TIES divides by the number of those that agree.",
      "TIES (Yadav et al. 2023, arXiv 2306.01708)",
    );
    return { weights: each(1), lambda: 1 };
  }
  const lambda = n >= 5 ? 0.5 : 0.7;
  const text = `Weights of 1 and λ = ${lambda}: between 0.5 and 1, which the authors of DARE searched; lower with five models or more. Try 0.5, 0.7 and 1.`;
  say("weights", "weights", "note", text, mergeLm);
  return { weights: each(1), lambda };
}

function filtersFor(
  found: Findings,
  used: readonly number[],
  p: number,
  say: Say,
): { filter: string; dropRate: number }[] {
  const filters: { filter: string; dropRate: number }[] = [];
  const of = (kind: TensorKind) => modulesOf(found, (k) => k === kind);
  const large = found.kinds.filter((k) => used.some((m) => classOf(k.models[m]?.mean ?? 0) === "large"));
  const whole: TensorKind[] = ["norm", "bias", "router"];
  const kept = modulesOf(found, (kind) => whole.includes(kind) || large.some((k) => k.kind === kind));
  if (kept.length > 0) {
    const also = large.filter((k) => !whole.includes(k.kind)).map((k) => k.kind);
    const because = also.length > 0 ? `, and ${list(also)}, whose mean |δ| is ${largeFrom} or more` : "";
    const text = `Nothing is dropped of norms, biases and routers, which are few and not sums over many inputs${because}.`;
    say("undropped", "filters", "note", text, `DAREx (arXiv 2410.09344) prunes attention and MLP only`);
    for (const filter of kept) filters.push({ filter, dropRate: 0 });
  }
  const tables = [...of("embedding"), ...of("head")].filter((name) => !kept.includes(name));
  if (tables.length > 0) {
    const lower = Math.max(0, Math.round((p - 0.2) * 100) / 100);
    say(
      "embeddings",
      "filters",
      "note",
      `p = ${lower} for embeddings and head, lower than the others: a row of theirs is one token's.`,
      guide,
    );
    for (const filter of tables) filters.push({ filter, dropRate: lower });
  }
  return filters;
}

/** Parts of names that stand for the tensors of some kinds and for no others. */
function modulesOf({ tensors }: Findings, wanted: (kind: TensorKind) => boolean): string[] {
  const names = new Set<string>();
  for (const { name, kind } of tensors) {
    if (!wanted(kind)) continue;
    const parts = name.split(".");
    // Of a bias its ending says enough.
    const words = kind === "bias" ? [".bias"] : [parts.at(-2) ?? name, `.${parts.slice(-2).join(".")}`];
    const others = (part: string) => tensors.some((t) => !wanted(t.kind) && t.name.includes(part));
    names.add(words.find((part) => !others(part)) ?? name);
  }
  // What holds another that is there says nothing new.
  return [...names].filter((n) => ![...names].some((other) => other !== n && n.includes(other))).sort();
}

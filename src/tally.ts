// What a merge found on its way, tensor by tensor: non-finite elements, overflow, survivors. Stops the merge where the policy
// says so, with the tensor, the model and the first index.

import { type Diagnostic, fail, quote } from "./errors.ts";
import type { TensorOutcome } from "./exec/outcome.ts";
import type { MergeSummary } from "./host.ts";
import { type MatrixFact, matrixFactNames } from "./kernel/program.ts";
import type { Plan, PlanTensor } from "./plan/plan.ts";

interface Kept {
  total: number;
  kept: number;
  asked: Set<number>;
}

export class Tally {
  private readonly plan: Plan;
  private readonly nonFinite: MergeSummary["nonFinite"][number][] = [];
  private readonly random = new Map<number, Kept>();
  private readonly magnitude = new Map<number, Kept>();
  private readonly remarks = new Map<string, { first: string; tensors: number }>();
  /** Elements kept of a model whose tensors were ranked together. */
  private readonly together = new Map<number, number>();
  /** What matrix programs found, by fact and tensor. */
  private readonly facts = new Map<MatrixFact, Map<string, readonly number[]>>();
  private overflow = 0;

  constructor(plan: Plan) {
    this.plan = plan;
  }

  /** `complete` is false for what a survey saw before its tensor's slices ran. */
  add(outcome: TensorOutcome, complete: boolean): void {
    const { tensor } = outcome;
    const model = (input: number) => this.plan.inputs[tensor.inputs[input]!.model]!.reference;
    for (const n of outcome.nonFinite) {
      if (this.plan.policy.nonFinite === "error") {
        fail(
          "non-finite",
          `Cannot merge ${quote(tensor.name)}: ${quote(model(n.input))} has ${n.count} NaN or infinite elements, the first at index ${n.first}`,
          {
            hint: "--non-finite keep lets each spoil one element of the output, --non-finite base takes the base's element there.",
          },
        );
      }
      if (complete) this.nonFinite.push({ model: model(n.input), tensor: tensor.name, count: n.count, first: n.first });
    }
    if (!complete) return;
    if (outcome.overflow.count > 0 && this.plan.policy.overflow === "error") {
      fail(
        "overflow",
        `Cannot store ${quote(tensor.name)} as ${tensor.dtype}: ${outcome.overflow.count} merged values are too large for it, the first at index ${outcome.overflow.first}`,
        {
          hint: "Use out_dtype bfloat16 or float32, a smaller lambda, or --overflow saturate or inf.",
        },
      );
    }
    this.overflow += outcome.overflow.count;
    if (outcome.differs >= 0) {
      fail(
        "integer-mismatch",
        `Cannot copy ${quote(tensor.name)} (${tensor.dtype}): it differs between ${quote(model(0))} and ${quote(model(outcome.differs))}`,
        {
          hint: "Integer tensors cannot be merged; make them equal first.",
        },
      );
    }
    this.count(tensor, outcome.kept);
    for (const fact of matrixFactNames) {
      const values = outcome.facts?.[fact];
      if (values) this.facts.set(fact, (this.facts.get(fact) ?? new Map()).set(tensor.name, values));
    }
    if (outcome.remark === null) return;
    const said = this.remarks.get(outcome.remark);
    if (said) {
      said.tensors++;
      if (tensor.name < said.first) said.first = tensor.name; // tensors end in any order
    } else this.remarks.set(outcome.remark, { first: tensor.name, tensors: 1 });
  }

  /** The method's remarks on tensors, each once. */
  warnings(): Diagnostic[] {
    return [...this.remarks].map(([remark, { first, tensors }]) => ({
      kind: "recipe-parameter",
      message: `${this.plan.method}: ${remark} in ${tensors} of ${this.plan.tensors.length} tensors, such as ${quote(first)}`,
    }));
  }

  /** A survey of all tensors keeps so many elements of a model. */
  addModel(model: number, kept: number): void {
    this.together.set(model, kept);
  }

  private count(tensor: PlanTensor, kept: readonly number[]): void {
    if (tensor.program.op !== "merge") return;
    tensor.program.terms.forEach((term, i) => {
      const model = tensor.inputs[term.input]!.model;
      const add = (to: Map<number, Kept>, asked: number | null) => {
        const was = to.get(model) ?? { total: 0, kept: 0, asked: new Set<number>() };
        was.total += tensor.count;
        was.kept += kept[i] ?? 0;
        if (asked !== null) was.asked.add(asked);
        to.set(model, was);
      };
      if (term.keep.random && !term.keep.magnitude) add(this.random, term.keep.random.threshold / 2 ** 32);
      if (term.keep.magnitude && !term.keep.random) add(this.magnitude, this.askedDensity(tensor, term.input));
    });
  }

  private askedDensity(tensor: PlanTensor, input: number): number | null {
    for (const s of tensor.surveys)
      if (s.op === "threshold") for (const o of s.operands) if (o.input === input) return o.density;
    return null;
  }

  /** Over all tensors and models; tensors end in any order, so sums run in the order of their names. */
  private methodFacts(): MergeSummary["methodFacts"] {
    return matrixFactNames.flatMap((fact) => {
      const found = [...(this.facts.get(fact) ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
      const values = found.flatMap(([tensor, list]) => list.map((value) => ({ tensor, value })));
      if (values.length === 0) return [];
      const least = values.reduce((a, b) => (b.value < a.value ? b : a));
      const most = values.reduce((a, b) => (b.value > a.value ? b : a));
      const mean = values.reduce((sum, v) => sum + v.value, 0) / values.length;
      return [{ fact, tensors: found.length, mean, least, most }];
    });
  }

  summary(): Pick<MergeSummary, "dropRates" | "densities" | "nonFinite" | "overflow" | "methodFacts"> {
    const list = (from: Map<number, Kept>, rate: (k: Kept, model: number) => number) =>
      [...from]
        .sort(([a], [b]) => a - b)
        .map(([model, k]) => ({
          model: this.plan.inputs[model]!.reference,
          asked: k.asked.size === 1 ? [...k.asked][0]! : null,
          actual: k.total > 0 ? rate(k, model) : 0,
        }));
    return {
      dropRates: list(this.random, (k) => 1 - k.kept / k.total),
      densities: list(this.magnitude, (k, model) => (k.kept + (this.together.get(model) ?? 0)) / k.total),
      nonFinite: this.nonFinite,
      overflow: this.overflow,
      methodFacts: this.methodFacts(),
    };
  }
}

// Carries a plan out: of every tensor a look at which elements are its largest, then one pass over it. Several tensors are under way
// at a time; what comes out depends on neither slices nor workers.

import type { TaskSource } from "../exec/drive.ts";
import { gather } from "../exec/gather.ts";
import { RoundMerger, type RoundOutcome, type RoundRequest } from "../exec/rounds.ts";
import { Sample, samplePieces } from "../exec/sample.ts";
import type { Nanoseconds } from "../kernel/phases.ts";
import {
  type Operand,
  pieceElements,
  type Receipt,
  type SurveyRound,
  type SurveyTask,
  type Task,
  tileElements,
} from "../kernel/program.ts";
import { cutView } from "../kernel/view.ts";
import type { SurveyResult } from "../methods/method.ts";
import { openTensors } from "../plan/memory.ts";
import { byteWidth } from "../tensor/dtype.ts";
import { CensusMerger } from "./census-merger.ts";
import type { Counted } from "./counted.ts";
import type { AnalysisPlan, AnalysisTensor } from "./plan.ts";

export interface CollectHooks {
  /** A tensor is done; in any order. */
  counted(index: number, counted: Counted): void;
  progress(bytes: number, tensor: string, task: number, took: Nanoseconds): void;
}

/** Of a sample: the thresholds need not be exact, and every piece is a read of every input. */
const mostPieces = 64;

interface Open {
  readonly index: number;
  readonly tensor: AnalysisTensor;
  readonly ready: Task[];
  left: number;
  /** The search for the largest elements of a small tensor. */
  rounds: Generator<RoundRequest, SurveyResult, RoundOutcome> | null;
  merger: RoundMerger | null;
  census: CensusMerger | null;
}

export class Collector implements TaskSource {
  private readonly plan: AnalysisPlan;
  private readonly topShare: number;
  private readonly hooks: CollectHooks;
  private readonly open: Open[] = [];
  private readonly owners = new Map<number, Open>();
  private nextTensor = 0;
  private nextId = 0;

  constructor(plan: AnalysisPlan, topShare: number, hooks: CollectHooks) {
    this.plan = plan;
    this.topShare = topShare;
    this.hooks = hooks;
  }

  next(): Task | "wait" | null {
    for (;;) {
      for (const t of this.open) {
        const task = t.ready.shift();
        if (task) return task;
      }
      const index = this.nextTensor;
      const tensor = this.plan.tensors[index];
      if (!tensor || this.open.length >= openTensors) break;
      this.nextTensor++;
      const opened: Open = { index, tensor, ready: [], left: 0, rounds: null, merger: null, census: null };
      this.open.push(opened);
      this.begin(opened);
    }
    return this.open.length > 0 ? "wait" : null;
  }

  done(task: Task, receipt: Receipt): void {
    const t = this.owners.get(task.id);
    if (!t || receipt.kind !== "survey") throw new Error(`task ${task.id} was never handed out`);
    this.owners.delete(task.id);
    t.left--;
    const { result } = receipt;
    if (result.op === "census") {
      t.census!.add(result, task.first, task.count);
      for (const n of receipt.nonFinite) t.census!.addNonFinite(n.input, n.count);
      const width = t.tensor.dtypes.reduce((sum, d) => sum + byteWidth(d), 0);
      this.hooks.progress(task.count * width, t.tensor.name, task.id, receipt.nanoseconds);
      if (t.left > 0) return;
      this.open.splice(this.open.indexOf(t), 1);
      this.hooks.counted(t.index, t.census!.counted(t.tensor, this.plan.models.length));
      return;
    }
    if (result.op === "sample" && !t.merger) {
      this.queueCensus(
        t,
        result.keys.map((keys) => {
          const sample = new Sample(keys);
          return sample.ranked(Math.max(1, Math.round(this.topShare * sample.count)));
        }),
      );
      return;
    }
    const outcome = t.merger!.add(result, task.first, task.count);
    if (outcome && t.left === 0) this.advance(t, outcome);
  }

  /** A sample is enough for a large tensor; a small one is searched. Either way it is told what the masks then keep. */
  private begin(t: Open): void {
    const operands = operandsOf(t.tensor);
    const pieces = samplePieces(t.tensor.count)?.filter((_, i, all) => i % Math.ceil(all.length / mostPieces) === 0);
    if (pieces) {
      this.queue(t, { op: "sample", operands }, 0, pieces.length * pieceElements, pieces);
      return;
    }
    t.rounds = gather(
      {
        op: "threshold",
        inputs: t.tensor.dtypes,
        operands: operands.map((o) => ({
          ...o,
          density: this.topShare,
          of: "elements",
          rounding: "nearest",
          ties: "include",
        })),
      },
      t.tensor.count,
    );
    this.advance(t, null);
  }

  private advance(t: Open, outcome: RoundOutcome | null): void {
    const step = outcome ? t.rounds!.next(outcome) : t.rounds!.next();
    if (!step.done) {
      t.merger = new RoundMerger(step.value);
      this.queueSlices(t, step.value);
      return;
    }
    if (step.value.op !== "threshold") throw new TypeError("expected thresholds");
    this.queueCensus(
      t,
      step.value.thresholds.map((x) => x.key),
    );
  }

  private queueCensus(t: Open, keys: readonly number[]): void {
    // A zero is never among the largest.
    const tops = keys.map((k) => Math.max(1, k));
    t.census = new CensusMerger(tops.length);
    const round = { op: "census", operands: operandsOf(t.tensor), tops } as const;
    this.queueSlices(t, { round, first: 0, count: t.tensor.count });
  }

  private queueSlices(t: Open, { round, first, count, pieces, taskElements }: RoundRequest): void {
    if (pieces) {
      this.queue(t, round, first, count, pieces);
      return;
    }
    const elements = taskElements ?? this.plan.sliceElements;
    const size = Math.max(1, Math.floor(elements / tileElements)) * tileElements;
    for (let done = 0; done < count; done += size) this.queue(t, round, first + done, Math.min(size, count - done));
  }

  private queue(t: Open, round: SurveyRound, first: number, count: number, pieces?: readonly number[]): void {
    const inputs = t.tensor.inputs.map((input) =>
      input.view && !pieces ? { ...input, view: cutView(input.view, first, count) } : input,
    );
    const task: SurveyTask = {
      kind: "survey",
      id: this.nextId++,
      first,
      count,
      inputs,
      dtypes: t.tensor.dtypes,
      round,
      ...(pieces ? { pieces } : {}),
    };
    t.ready.push(task);
    t.left++;
    this.owners.set(task.id, t);
  }
}

function operandsOf({ inputs }: AnalysisTensor): (Operand & { base: number })[] {
  return inputs.slice(1).map((_, i) => ({ input: i + 1, base: 0, keep: {} }));
}

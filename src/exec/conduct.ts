// Turns a plan into tasks as they become ready: a tensor's surveys first, then its slices, several tensors at a time so that
// no worker waits for a survey to close. A survey that ranks all tensors together runs before any of them is merged.

import type {
  MatrixFacts,
  MergeReceipt,
  MergeTask,
  NonFinite,
  Program,
  Receipt,
  Survey,
  SurveyTask,
  Task,
  TaskInput,
} from "../kernel/program.ts";
import { tileOf } from "../kernel/program.ts";
import { cutView } from "../kernel/view.ts";
import type { Method, Solved, SurveyResult } from "../methods/method.ts";
import { type Plan, type PlanTensor, readWidth } from "../plan/plan.ts";
import { byteWidth } from "../tensor/dtype.ts";
import { Agenda } from "./agenda.ts";
import type { TaskSource } from "./drive.ts";
import type { Executor } from "./executor.ts";
import { gather } from "./gather.ts";
import type { ConductorHooks, TensorOutcome } from "./outcome.ts";
import { RoundMerger, type RoundOutcome, type RoundRequest } from "./rounds.ts";
import { cutLines, resolveKeep, resolveProgram, resolveSelection, resolveVote } from "./scalars.ts";

/**
 * Tensors in work at the same time before their slices are all handed out: a survey of one overlaps the slices of the others. What
 * is only waited for does not count, or a thousand nodes would wait for the slices of four tensors.
 */
const openTensors = 4;

/** Small tasks have this share of the elements of others, but not fewer than these. */
const smallShare = 1 / 8;
const fewestSmall = 65_536;

/**
 * A merge by the thresholds of which a sample is sure, while they are confirmed: the inputs are read once. What it writes counts when
 * they were right; otherwise the merge comes after the survey, as ever, and writes over it.
 */
interface Trial {
  readonly program: string;
  readonly done: { readonly task: MergeTask; readonly receipt: MergeReceipt }[];
}

interface OpenTensor {
  readonly tensor: PlanTensor;
  /** Index among the members of the survey of all tensors, while its round asks this one. */
  readonly member: number;
  readonly results: SurveyResult[];
  rounds: Generator<RoundRequest, SurveyResult, RoundOutcome> | null;
  merger: RoundMerger | null;
  trial: Trial | null;
  readonly ready: Task[];
  /** Tasks handed out or ready, not yet done. */
  left: number;
  merging: boolean;
  nonFinite: Map<number, NonFinite>;
  overflow: { count: number; first: number };
  kept: number[];
  differs: number;
  facts: MatrixFacts | null;
}

export class Conductor implements TaskSource {
  private readonly plan: Plan;
  private readonly method: Method;
  private readonly hooks: ConductorHooks;
  private readonly open: OpenTensor[] = [];
  private readonly owners = new Map<number, OpenTensor>();
  private readonly outputFile: number;
  private readonly agenda: Agenda;
  private nextId = 0;

  private readonly surveysMerges: boolean;
  /** Tasks that are still to be small. */
  private small: number;
  /** Bytes of the plan that were not read. */
  spared = 0;

  /** Output files follow the input files in the job's list. */
  constructor(
    plan: Plan,
    method: Method,
    hooks: ConductorHooks,
    executor: Pick<Executor, "surveysMerges" | "firstTasks"> = {},
  ) {
    this.surveysMerges = executor.surveysMerges ?? false;
    this.small = executor.firstTasks ?? 0;
    this.plan = plan;
    this.method = method;
    this.hooks = hooks;
    this.outputFile = plan.inputFiles.length;
    this.agenda = new Agenda(plan, (model, kept) => hooks.kept(model, kept));
  }

  next(): Task | "wait" | null {
    for (;;) {
      for (const t of this.open) {
        const task = t.ready.shift();
        if (task) return task;
      }
      if (this.open.filter((t) => !t.merging).length >= openTensors) break;
      const turn = this.agenda.next(this.open.length === 0);
      if (!turn) break;
      const { tensor, member } = turn;
      const opened: OpenTensor = {
        tensor,
        member,
        results: this.agenda.resultsOf(tensor),
        rounds: null,
        merger: null,
        trial: null,
        ready: [],
        left: 0,
        merging: false,
        nonFinite: new Map(),
        overflow: { count: 0, first: -1 },
        kept: [],
        differs: -1,
        facts: null,
      };
      this.open.push(opened);
      this.advance(opened, null);
    }
    return this.open.length > 0 ? "wait" : null;
  }

  done(task: Task, receipt: Receipt): void {
    const t = this.owners.get(task.id);
    if (!t) throw new Error(`task ${task.id} was never handed out`);
    this.owners.delete(task.id);
    t.left--;
    for (const n of receipt.nonFinite) {
      const was = t.nonFinite.get(n.input);
      const first = was ? Math.min(was.first, n.first) : n.first;
      t.nonFinite.set(n.input, { input: n.input, count: (was?.count ?? 0) + n.count, first });
    }
    if (t.trial && task.kind === "merge" && receipt.kind === "merge") {
      this.addTrial(t, t.trial, task, receipt);
      return;
    }
    this.hooks.progress(this.bytesOf(task, t.tensor), t.tensor, task, receipt);
    if (receipt.kind === "survey" && t.member >= 0) {
      this.agenda.round.add(t.member, receipt.result, task.first, task.count);
      if (t.left > 0) return;
      this.open.splice(this.open.indexOf(t), 1);
      if (t.nonFinite.size > 0) this.hooks.outcome(this.outcomeOf(t), false);
      return;
    }
    if (receipt.kind === "survey") {
      const outcome = t.merger!.add(receipt.result, task.first, task.count);
      if (outcome && t.left === 0) this.advance(t, outcome);
      return;
    }
    this.addMerge(t, receipt);
    if (task.kind === "merge") this.hooks.written?.(0, t.tensor, task);
    if (t.left === 0 && t.merging) this.finish(t);
  }

  /** A merge that is tried stands for the survey, until its thresholds are known to be right. */
  private addTrial(t: OpenTensor, trial: Trial, task: MergeTask, receipt: MergeReceipt): void {
    trial.done.push({ task, receipt });
    this.hooks.progress(task.count * readWidth(t.tensor), t.tensor, task, receipt);
    const outcome = t.merger!.add(receipt.survey!, task.first, task.count);
    if (outcome && t.left === 0) this.advance(t, outcome);
  }

  /** Takes what was tried for the merge, if it is what the survey asks for. */
  private keepTrial(t: OpenTensor, { program, done }: Trial, resolved: Program): boolean {
    if (JSON.stringify(resolved) !== program) return false;
    for (const { task, receipt } of done) {
      this.addMerge(t, receipt);
      this.spared += task.count * readWidth(t.tensor);
      this.hooks.written?.(this.bytesOf(task, t.tensor), t.tensor, task);
    }
    return true;
  }

  beat(task: Task, share: number): void {
    const t = this.owners.get(task.id);
    if (t) this.hooks.beat(share * this.bytesOf(task, t.tensor), t.tensor, task);
  }

  private addMerge(t: OpenTensor, receipt: MergeReceipt): void {
    t.facts = receipt.facts ?? t.facts;
    receipt.kept.forEach((k, i) => {
      t.kept[i] = (t.kept[i] ?? 0) + k;
    });
    if (receipt.overflow.count > 0) {
      t.overflow.count += receipt.overflow.count;
      t.overflow.first =
        t.overflow.first < 0 ? receipt.overflow.first : Math.min(t.overflow.first, receipt.overflow.first);
    }
    if (receipt.differs >= 0 && (t.differs < 0 || receipt.differs < t.differs)) t.differs = receipt.differs;
  }

  /** Moves a tensor to its next round, its next survey, or its slices. */
  private advance(t: OpenTensor, outcome: RoundOutcome | null): void {
    if (t.member >= 0) {
      this.queueRound(t, this.agenda.round.request(t.member));
      return;
    }
    const tried = t.trial;
    t.trial = null;
    if (outcome && t.nonFinite.size > 0) this.hooks.outcome(this.outcomeOf(t), false);
    const { nonFinite } = t;
    if (outcome) t.nonFinite = new Map(); // counted again, and for good, by the slices
    for (;;) {
      if (t.rounds) {
        const step = outcome ? t.rounds.next(outcome) : t.rounds.next();
        outcome = null;
        if (!step.done) {
          t.merger = new RoundMerger(step.value);
          if (!this.tryMerge(t, step.value)) this.queueRound(t, step.value);
          return;
        }
        t.results.push(step.value);
        t.rounds = null;
      }
      const survey = t.tensor.surveys[t.results.length];
      if (!survey) break;
      t.rounds = gather(this.resolveSurvey(survey, t), t.tensor.count, this.mayTry(t));
    }
    if (this.agenda.elects) {
      this.agenda.note(t.tensor, t.results);
      this.open.splice(this.open.indexOf(t), 1);
      return;
    }
    t.merging = true;
    const program = this.resolved(t, t.results);
    if (tried && this.keepTrial(t, tried, program)) t.nonFinite = nonFinite;
    else this.queueMerge(t, program);
    if (t.left === 0) this.finish(t);
  }

  private queueMerge(t: OpenTensor, program: Program, survey?: NonNullable<MergeTask["survey"]>): void {
    const tile = tileOf(program.op === "merge" ? program.terms : []);
    const elements = program.op === "matrix" ? t.tensor.count : this.plan.memory.sliceElements;
    const queue = (first: number, count: number) => {
      this.queue(t, {
        kind: "merge",
        id: this.nextId++,
        first,
        count,
        inputs: t.tensor.inputs,
        output: { file: this.outputFile + t.tensor.output.file, start: t.tensor.output.start },
        program: program.op === "merge" ? cutLines(program, first, count) : program,
        policy: this.plan.policy,
        ...(survey ? { survey } : {}),
      });
    };
    this.slices(0, t.tensor.count, tile, queue, elements);
  }

  /** Whether a merge may be tried while a survey goes on: it is the last thing that the merge waits for. */
  private mayTry({ tensor, results }: OpenTensor): boolean {
    if (!this.surveysMerges || this.agenda.elects) return false;
    return tensor.program.op === "merge" && results.length + 1 >= tensor.surveys.length;
  }

  /** Merges by a guess. */
  private tryMerge(t: OpenTensor, { round, guess }: RoundRequest): boolean {
    if (!this.mayTry(t) || !guess || round.op !== "histogram") return false;
    const program = this.resolved(t, [...t.results, guess]);
    t.trial = { program: JSON.stringify(program), done: [] };
    this.queueMerge(t, program, round);
    return true;
  }

  private resolved({ tensor }: OpenTensor, results: readonly SurveyResult[]): Program {
    const { program } = tensor;
    return program.op === "merge" ? resolveProgram(program, this.scalars(tensor, results)) : program;
  }

  private scalars({ solve }: PlanTensor, results: readonly SurveyResult[]): Solved {
    return results.length > 0 && this.method.solve ? this.method.solve(solve, results) : {};
  }

  private resolveSurvey(survey: Survey, t: OpenTensor): Survey {
    const scalars = this.scalars(t.tensor, t.results);
    const operands = survey.operands.map((o) => ({ ...o, keep: resolveKeep(o.keep, scalars) }));
    const resolved = { ...survey, operands } as Survey;
    if (resolved.op === "signs")
      return { ...resolved, operands: resolved.operands.map((o) => resolveVote(o, scalars)) };
    return resolved.op === "norms" ? resolveSelection(resolved, scalars) : resolved;
  }

  private queueRound(t: OpenTensor, request: RoundRequest): void {
    const dtypes = t.tensor.program.op === "merge" ? t.tensor.program.inputs : [];
    const queue = (first: number, count: number) => {
      const task: SurveyTask = {
        kind: "survey",
        id: this.nextId++,
        first,
        count,
        inputs: t.tensor.inputs,
        dtypes,
        round: request.round,
        ...(request.pieces ? { pieces: request.pieces } : {}),
        ...(request.pieceLength ? { pieceLength: request.pieceLength } : {}),
      };
      this.queue(t, task);
    };
    if (request.pieces) queue(request.first, request.count);
    else this.slices(request.first, request.count, tileOf(request.round.operands), queue, request.taskElements);
  }

  /** Slices of whole tiles, about as long as the plan says. */
  private slices(
    first: number,
    count: number,
    tile: number,
    each: (first: number, count: number) => void,
    elements = this.plan.memory.sliceElements,
  ): void {
    const whole = (n: number) => Math.max(1, Math.floor(n / tile)) * tile;
    const size = whole(elements);
    const small = whole(elements * smallShare);
    for (let done = 0; done < count; ) {
      const begins = this.small > 0 && small >= fewestSmall && count - done > small;
      if (begins) this.small--;
      const n = Math.min(begins ? small : size, count - done);
      each(first + done, n);
      done += n;
    }
  }

  private queue(t: OpenTensor, task: Task): void {
    // Locations travel to workers; what else the plan knows of an input stays here.
    const inputs = task.inputs.map(({ file, start, view }): TaskInput => {
      if (!view) return { file, start };
      // A sample looks at pieces from all over the tensor.
      const whole = task.kind === "survey" && task.pieces;
      return { file, start, view: whole ? view : cutView(view, task.first, task.count) };
    });
    t.ready.push({ ...task, inputs });
    t.left++;
    this.owners.set(task.id, t);
  }

  private finish(t: OpenTensor): void {
    this.open.splice(this.open.indexOf(t), 1);
    this.hooks.outcome(this.outcomeOf(t), true);
  }

  private outcomeOf(t: OpenTensor): TensorOutcome {
    const nonFinite = [...t.nonFinite.values()].sort((a, b) => a.input - b.input);
    const { tensor, results } = t;
    const surveyed = results.length > 0 && results.length === tensor.surveys.length;
    const remark = (surveyed && this.method.remark?.(tensor.solve, results)) || null;
    const { overflow, facts, differs } = t;
    return { tensor, nonFinite, overflow, kept: keptOf(t), facts, remark, differs };
  }

  /** The bytes of the plan that a task stands for: samples are beside it. */
  private bytesOf(task: Task, tensor: PlanTensor): number {
    if (task.kind === "survey" && task.pieces) return 0;
    const read = readWidth(tensor);
    return task.count * (read + (task.kind === "merge" ? byteWidth(tensor.dtype) : 0));
  }
}

/** Elements kept per term. A threshold survey has counted exactly what its rule keeps, so workers need not. */
function keptOf(t: OpenTensor): number[] {
  const kept = [...t.kept];
  const { program } = t.tensor;
  if (program.op !== "merge") return kept;
  for (const [s, survey] of t.tensor.surveys.entries()) {
    const result = t.results[s];
    if (survey.op !== "threshold" || result?.op !== "threshold") continue;
    survey.operands.forEach((o, i) => {
      // What is ranked by variance or importance is counted where it is selected.
      const term = o.variance || o.rank !== undefined ? -1 : program.terms.findIndex((x) => x.input === o.input);
      if (term >= 0) kept[term] = result.thresholds[i]!.kept ?? 0;
    });
  }
  return kept;
}

// Runs cases: plans go through the conductor and an executor as in a merge, and the receipts say what they took.

import { Conductor } from "../exec/conduct.ts";
import { drive, type TaskSource } from "../exec/drive.ts";
import type { Executor, Job } from "../exec/executor.ts";
import type { ConductorHooks } from "../exec/outcome.ts";
import type { Phase } from "../kernel/phases.ts";
import type { Task } from "../kernel/program.ts";
import type { Prepared } from "../prepare.ts";
import { byteWidth } from "../tensor/dtype.ts";

/** A job that has the files of all these plans, so that one executor can run them one after the other. */
export function jobOf(plans: readonly Prepared[], profile = false): Job {
  const paths = new Set(plans.flatMap((p) => p.plan.inputFiles.map((f) => f.location)));
  return {
    files: [...[...paths].map((path) => ({ path, mode: "read" as const })), { path: "nowhere", mode: "write" }],
    workerBytes: Math.max(...plans.map((p) => p.plan.memory.workerBytes)),
    ...(profile ? { profile } : {}),
  };
}

/** What one pass over a case took. */
export interface Pass {
  /** Computing, added up over the workers, in nanoseconds per parameter. */
  readonly nsPerParameter: number;
  /** Surveys included. */
  readonly bytesReadPerParameter: number;
  readonly bytesWrittenPerParameter: number;
  /** Nanoseconds of each phase, of a profiled job. */
  readonly phases: Readonly<Partial<Record<Phase, number>>>;
}

/** Runs a plan once. */
export async function runPass(prepared: Prepared, job: Job, executor: Executor, signal: AbortSignal): Promise<Pass> {
  const { plan, method } = prepared;
  let compute = 0;
  let read = 0;
  let written = 0;
  const phases: Partial<Record<Phase, number>> = {};
  const hooks: ConductorHooks = {
    outcome: () => {},
    kept: () => {},
    beat: () => {},
    progress: (_, tensor, task, receipt) => {
      compute += receipt.nanoseconds.compute;
      read += task.count * tensor.inputs.reduce((sum, i) => sum + byteWidth(i.dtype), 0);
      if (task.kind === "merge") written += task.count * byteWidth(tensor.dtype);
      for (const [phase, ns] of Object.entries(receipt.profile?.phases ?? {}) as [Phase, number][]) {
        phases[phase] = (phases[phase] ?? 0) + ns;
      }
    },
  };
  const conductor = new Conductor(plan, method, hooks, executor);
  const index = new Map(job.files.map((f, i) => [f.path, i]));
  // Files of the plan → files of the job.
  const at = (file: number) => index.get(plan.inputFiles[file]!.location)!;
  const moved = (task: Task): Task => {
    const inputs = task.inputs.map((i) => ({ ...i, file: at(i.file) }));
    if (task.kind === "survey") return { ...task, inputs };
    return { ...task, inputs, output: { ...task.output, file: job.files.length - 1 } };
  };
  const source: TaskSource = {
    next: () => {
      const task = conductor.next();
      return task === null || task === "wait" ? task : moved(task);
    },
    done: (task, receipt) => conductor.done(task, receipt),
  };
  await drive(source, executor, signal);
  const { parameters } = plan;
  return {
    nsPerParameter: compute / parameters,
    bytesReadPerParameter: read / parameters,
    bytesWrittenPerParameter: written / parameters,
    phases,
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const mid = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[mid]! : (sorted[mid - 1]! + sorted[mid]!) / 2;
}

export interface Effort {
  /** A case is run again until it took so long, … */
  readonly caseMs: number;
  /** … but at least and at most so often. */
  readonly minRounds: number;
  readonly maxRounds: number;
}

/** Runs a plan several times, the first one for the compiler's sake; the answer has the median of the others. */
export async function measure(
  prepared: Prepared,
  job: Job,
  executor: Executor,
  effort: Effort,
  now: () => number,
  signal: AbortSignal,
): Promise<Pass> {
  await runPass(prepared, job, executor, signal);
  const passes: Pass[] = [];
  const started = now();
  while (passes.length < effort.minRounds || (passes.length < effort.maxRounds && now() - started < effort.caseMs)) {
    passes.push(await runPass(prepared, job, executor, signal));
  }
  const phases: Partial<Record<Phase, number>> = {};
  for (const phase of Object.keys(passes[0]!.phases) as Phase[]) {
    phases[phase] = median(passes.map((p) => p.phases[phase] ?? 0));
  }
  return { ...passes[0]!, phases, nsPerParameter: median(passes.map((p) => p.nsPerParameter)) };
}

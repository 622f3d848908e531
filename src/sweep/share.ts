// Surveys of a sweep's merges are asked once: a task is data, so the same question about the same bytes has the same answer. What
// points have in common then costs nothing: a sweep over λ or weights of TIES searches its thresholds once.

import type { Executor, Job } from "../exec/executor.ts";
import type { SurveyReceipt, SurveyTask } from "../kernel/program.ts";

/** Answers that are kept; histograms of a large tensor have some hundred kilobytes. */
const maxKeptBytes = 64 * 1024 * 1024;
/** Of an answer that holds only a few numbers. */
const smallBytes = 256;

export interface SharedSurveys {
  wrap(executor: Executor, job: Job): Executor;
  /** Surveys that were not run, because their answer was known. */
  readonly shared: number;
  readonly run: number;
}

function bytesOf(value: unknown): number {
  if (ArrayBuffer.isView(value)) return value.byteLength;
  if (Array.isArray(value)) return value.reduce((sum: number, v) => sum + bytesOf(v), 16);
  if (typeof value === "object" && value !== null) return bytesOf(Object.values(value));
  return 8;
}

/** The question without its number, and with the names of its files: other jobs count them differently. */
function questionOf({ id: _, ...task }: SurveyTask, job: Job): string {
  return JSON.stringify(task, (key, value: unknown) =>
    key === "file" && typeof value === "number" ? job.files[value]?.path : value,
  );
}

export function shareSurveys(): SharedSurveys {
  const answers = new Map<string, SurveyReceipt>();
  let kept = 0;
  const counts = { shared: 0, run: 0 };
  return {
    get shared() {
      return counts.shared;
    },
    get run() {
      return counts.run;
    },
    wrap: (executor, job) => ({
      get capacity() {
        return executor.capacity;
      },
      close: () => executor.close(),
      async run(task, signal, beat) {
        if (task.kind !== "survey") return executor.run(task, signal, beat);
        const question = questionOf(task, job);
        const known = answers.get(question);
        if (known) {
          counts.shared++;
          return { ...known, id: task.id };
        }
        const receipt = await executor.run(task, signal, beat);
        counts.run++;
        if (receipt.kind === "survey") {
          const bytes = bytesOf(receipt.result) + smallBytes + question.length * 2;
          if (kept + bytes <= maxKeptBytes) {
            kept += bytes;
            answers.set(question, receipt);
          }
        }
        return receipt;
      },
    }),
  };
}

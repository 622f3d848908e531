// How long tasks take, an element: what a straggler is measured by.

import type { Task } from "../kernel/program.ts";

/** A task is given out once more when it takes this many times as long as the others did. */
export const stragglerFactor = 2;
/** Nothing is a straggler before. */
const stragglerMs = 200;
/** Durations that the median is taken of, and how many it takes. */
const samples = 64;
const leastSamples = 3;

export class Pace {
  private readonly perElement: number[] = [];

  note(task: Task, ms: number): void {
    this.perElement.push(ms / task.count);
    if (this.perElement.length > samples) this.perElement.shift();
  }

  /** Milliseconds after which a task is a straggler; infinity while nothing is known. */
  patience(): (task: Task) => number {
    if (this.perElement.length < leastSamples) return () => Number.POSITIVE_INFINITY;
    const median = [...this.perElement].sort((a, b) => a - b)[this.perElement.length >> 1]!;
    return (task) => Math.max(stragglerMs, stragglerFactor * median * task.count);
  }
}

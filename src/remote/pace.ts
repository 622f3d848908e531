// How long tasks take, an element: what a straggler is measured by.

import type { Task } from "../kernel/program.ts";

/** A task is given out once more when it takes this many times as long as the others did. */
export const stragglerFactor = 2;
/** Durations that the median is taken of, at most. */
const samples = 64;

export interface PaceOptions {
  /** Nothing is a straggler before. */
  readonly stragglerMs: number;
  /** Durations that must be known before anything is one. */
  readonly leastSamples: number;
}

export class Pace {
  private readonly options: PaceOptions;
  private readonly perElement: number[] = [];

  constructor(options: PaceOptions) {
    this.options = options;
  }

  note(task: Task, ms: number): void {
    this.perElement.push(ms / task.count);
    if (this.perElement.length > samples) this.perElement.shift();
  }

  /** Milliseconds after which a task is a straggler; infinity while too little is known. */
  patience(): (task: Task) => number {
    const { stragglerMs, leastSamples } = this.options;
    if (this.perElement.length < leastSamples) return () => Number.POSITIVE_INFINITY;
    const median = [...this.perElement].sort((a, b) => a - b)[this.perElement.length >> 1] ?? 0;
    return (task) => Math.max(stragglerMs, stragglerFactor * median * task.count);
  }
}

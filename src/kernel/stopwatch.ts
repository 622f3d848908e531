// What a task's time is measured with. A plain merge takes three times a stride; under --profile every call of a kernel is timed
// too, by wrapping the kernel's exports, so that what runs is the same code with and without.

import type { KernelExports } from "./exports.ts";
import type { Kernel } from "./kernel.ts";
import type { Nanoseconds, Phase, ProbeShares, TaskProfile } from "./phases.ts";
import { phases } from "./phases.ts";
import type { Task } from "./program.ts";

export class Stopwatch {
  readonly laps: { -readonly [part in keyof Nanoseconds]: number } = { read: 0, compute: 0, write: 0 };
  private at = 0;
  private readonly now: () => number;

  constructor(now: () => number) {
    this.now = now;
  }

  start(): void {
    this.at = this.now();
  }

  lap(part: keyof Nanoseconds): void {
    const t = this.now();
    this.laps[part] += Math.round((t - this.at) * 1e6);
    this.at = t;
  }
}

/** Every so many tiles the fused kernel's work is done by the separate steps too, to learn how its time divides. */
export const probeEvery = 64;

const statistics = /^(dot|l1|max_abs|nonzero|bracket|equals|nth_equal|contributors$)/;

/** Which phase a call of a kernel counts as; `rest` is for arithmetic, which a merge combines and a survey prepares with. */
function phaseOf(name: string, rest: Phase): Phase {
  if (/^(first_)?nonfinite_|^same_bytes$/.test(name)) return "check";
  if (name.startsWith("decode_")) return "decode";
  if (name.startsWith("encode_")) return "encode";
  if (name.startsWith("keep_mask")) return "mask";
  if (name.startsWith("merge_")) return "merge";
  return statistics.test(name) ? "survey" : rest;
}

const zero = (): Record<Phase, number> => Object.fromEntries(phases.map((p) => [p, 0])) as Record<Phase, number>;

/** The phases of one task at a time. */
export class PhaseClock {
  /** The kernel to give to the task: the same one, timed. */
  readonly kernel: Kernel;
  private readonly now: () => number;
  /** Milliseconds from this thread's clock to the coordinator's. */
  private readonly shift: number;
  /** Milliseconds. */
  private spent = zero();
  private probed = { check: 0, decode: 0, combine: 0, encode: 0, tiles: 0 };
  private probing = false;
  private survey = false;
  private began = 0;

  constructor(kernel: Kernel, now: () => number, shift: number) {
    this.now = now;
    this.shift = shift;
    const exports: Record<string, unknown> = {};
    for (const name in kernel.exports) {
      const call = (kernel.exports as unknown as Record<string, unknown>)[name];
      exports[name] = typeof call === "function" ? this.timed(name, call as (...args: number[]) => unknown) : call;
    }
    this.kernel = {
      ...kernel,
      exports: exports as unknown as KernelExports,
      get byteLength() {
        return kernel.byteLength;
      },
    };
  }

  begin(task: Task): void {
    this.spent = zero();
    this.probed = { check: 0, decode: 0, combine: 0, encode: 0, tiles: 0 };
    this.survey = task.kind === "survey";
    this.began = this.now();
  }

  /** Runs the separate steps of a tile whose result nobody uses, if it is one of those that are looked at. */
  probe(first: number, tileElements: number, steps: () => void): void {
    if ((first / tileElements) % probeEvery !== 0) return;
    const t = this.now();
    this.probing = true;
    steps();
    this.probing = false;
    this.probed.tiles++;
    this.spent.probe += this.now() - t;
  }

  end(laps: Nanoseconds): TaskProfile {
    const end = this.now();
    const nanoseconds = zero();
    for (const phase of phases) nanoseconds[phase] = Math.round(this.spent[phase] * 1e6);
    nanoseconds.read = laps.read;
    nanoseconds.write = laps.write;
    // What is left is the program around the kernels: loops, scratch memory, the answer.
    const named = phases.reduce((sum, p) => sum + nanoseconds[p], 0);
    nanoseconds.other = Math.max(0, Math.round((end - this.began) * 1e6) - named);
    const { tiles, ...shares } = this.probed;
    const probe: ProbeShares = { tiles, ...mapValues(shares, (ms) => Math.round(ms * 1e6)) };
    return { worker: 0, start: this.began + this.shift, end: end + this.shift, phases: nanoseconds, probe };
  }

  private timed(name: string, call: (...args: number[]) => unknown): (...args: number[]) => unknown {
    const merging = phaseOf(name, "combine");
    const surveying = phaseOf(name, "survey");
    return (...args) => {
      const t = this.now();
      const answer = call(...args);
      const ms = this.now() - t;
      if (!this.probing) this.spent[this.survey ? surveying : merging] += ms;
      else if (merging !== "mask") this.probed[merging as keyof typeof this.probed] += ms;
      return answer;
    };
  }
}

function mapValues<K extends string>(from: Readonly<Record<K, number>>, f: (x: number) => number): Record<K, number> {
  return Object.fromEntries(Object.entries<number>(from).map(([k, v]) => [k, f(v)])) as Record<K, number>;
}

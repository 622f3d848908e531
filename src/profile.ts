// Where the time of a merge went: the coordinator's steps, and what the receipts of a profiled job tell of the workers. A Profiler
// collects both on one clock; its summary is data, and trace.ts draws its spans.

import type { MergeProfile, MergeStep } from "./host.ts";
import { type Phase, phases } from "./kernel/phases.ts";
import type { Receipt, Task } from "./kernel/program.ts";
import { probeEvery } from "./kernel/stopwatch.ts";

/** Spans of tasks that are kept. Beyond it neighbours become one, so that a trace of any merge has a bounded size. */
export const maxTaskSpans = 4096;
/** The same for hashing and flushing. */
export const maxBesideSpans = 1024;

/** What a track shows from `start` to `end`, in milliseconds of the coordinator's clock. */
export interface Span {
  readonly name: string;
  readonly start: number;
  end: number;
  /** Tasks, or turns of hashing, in it. */
  parts: number;
  readonly task: TaskSpan | null;
}

export interface TaskSpan {
  readonly kind: string;
  /** The slice of the first task. */
  readonly first: number;
  count: number;
  /** The last tensor, where several tasks became one span. */
  last: string;
  /** Nanoseconds in the order of `phases`. */
  readonly phases: number[];
}

/** Tracks of spans, bounded together: when they are too many, neighbours on a track become one. */
export class Spans {
  readonly tracks = new Map<number, Span[]>();
  private readonly limit: number;
  private grain = 1;
  private size = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  /** How many parts a span may stand for. */
  get partsPerSpan(): number {
    return this.grain;
  }

  add(track: number, span: Span): void {
    const spans = this.tracks.get(track) ?? [];
    this.tracks.set(track, spans);
    const last = spans.at(-1);
    if (last && last.parts + span.parts <= this.grain) {
      absorb(last, span);
      return;
    }
    spans.push(span);
    if (++this.size <= this.limit) return;
    this.grain *= 2;
    this.size = 0;
    for (const [key, all] of this.tracks) {
      const fewer: Span[] = [];
      for (const s of all) {
        const before = fewer.at(-1);
        if (before && before.parts + s.parts <= this.grain) absorb(before, s);
        else fewer.push(s);
      }
      this.tracks.set(key, fewer);
      this.size += fewer.length;
    }
  }
}

function absorb(into: Span, next: Span): void {
  into.end = next.end;
  into.parts += next.parts;
  if (!into.task || !next.task) return;
  into.task.count += next.task.count;
  into.task.last = next.task.last;
  next.task.phases.forEach((ns, i) => {
    into.task!.phases[i]! += ns;
  });
}

type Seconds = Record<Phase, number>;
const none = (): Seconds => Object.fromEntries(phases.map((p) => [p, 0])) as Seconds;

function plus(to: Seconds, nanoseconds: Readonly<Record<Phase, number>>): void {
  for (const p of phases) to[p] += nanoseconds[p] / 1e9;
}

const shares = ["check", "decode", "combine", "encode"] as const;

interface WorkerTime {
  tasks: number;
  busy: number;
  firstStart: number;
  readonly phases: Seconds;
}

/** Collects; give one to `merge`. `now` is the clock of its host. */
export class Profiler {
  readonly steps: Span[] = [];
  readonly tasks = new Spans(maxTaskSpans);
  readonly beside = { hash: new Spans(maxBesideSpans), flush: new Spans(maxBesideSpans) };
  /** Where the clock stood when everything began. */
  readonly origin: number;
  private readonly now: () => number;
  private readonly byKind = { merge: none(), survey: none() };
  private readonly byWorker = new Map<number, WorkerTime>();
  private readonly besideMs = { hash: 0, flush: 0 };
  private readonly fused = { tiles: 0, check: 0, decode: 0, combine: 0, encode: 0 };
  /** Seconds of fused kernels in tasks without a probed tile. */
  private unprobed = 0;
  private workers = 0;

  constructor(now: () => number) {
    this.now = now;
    this.origin = now();
  }

  /** Runs a step of the coordinator, which may have begun a little earlier. Steps follow one another. */
  async step<T>(name: MergeStep, run: () => T | Promise<T>, start = this.now()): Promise<T> {
    try {
      return await run();
    } finally {
      this.steps.push({ name, start, end: this.now(), parts: 1, task: null });
    }
  }

  /** How many workers the merge has, whether or not each gets a task. */
  expect(workers: number): void {
    this.workers = workers;
  }

  /** Work beside the steps, of one file, from `start` until now. */
  besideSince(what: "hash" | "flush", name: string, start: number): void {
    const end = this.now();
    this.besideMs[what] += end - start;
    this.beside[what].add(0, { name, start, end, parts: 1, task: null });
  }

  task(tensor: string, task: Task, receipt: Receipt): void {
    const { profile } = receipt;
    if (!profile) return;
    plus(this.byKind[task.kind], profile.phases);
    const worker = this.byWorker.get(profile.worker) ?? {
      tasks: 0,
      busy: 0,
      firstStart: profile.start,
      phases: none(),
    };
    this.byWorker.set(profile.worker, worker);
    worker.tasks++;
    worker.busy += (profile.end - profile.start) / 1000;
    plus(worker.phases, profile.phases);
    this.share(profile.phases.merge / 1e9, profile.probe);
    this.tasks.add(profile.worker, {
      name: tensor,
      start: profile.start,
      end: profile.end,
      parts: 1,
      task: {
        kind: task.kind === "merge" ? task.program.op : `survey: ${task.round.op}`,
        first: task.first,
        count: task.count,
        last: tensor,
        phases: phases.map((p) => profile.phases[p]),
      },
    });
  }

  /** Divides the fused time of a task as its probed tiles say. */
  private share(fused: number, probe: NonNullable<Receipt["profile"]>["probe"]): void {
    const whole = shares.reduce((sum, s) => sum + probe[s], 0);
    this.fused.tiles += probe.tiles;
    if (whole === 0) this.unprobed += fused;
    else for (const s of shares) this.fused[s] += (fused * probe[s]) / whole;
  }

  summary(): MergeProfile {
    const run = this.steps.find((s) => s.name === "merge");
    const wall = run ? (run.end - run.start) / 1000 : 0;
    const numbers = new Set([...Array(this.workers).keys(), ...this.byWorker.keys()]);
    const workers = [...numbers]
      .sort((a, b) => a - b)
      .map((worker) => {
        const w = this.byWorker.get(worker);
        if (!w || !run) return { worker, tasks: 0, busy: 0, start: wall, wait: 0, phases: none() };
        const start = Math.max(0, (w.firstStart - run.start) / 1000);
        return { worker, ...w, start, wait: Math.max(0, wall - start - w.busy) };
      });
    return {
      seconds: Math.max(0, ...this.steps.map((s) => s.end - this.origin)) / 1000,
      steps: this.steps.map((s) => ({ name: s.name as MergeStep, seconds: (s.end - s.start) / 1000 })),
      beside: { hash: this.besideMs.hash / 1000, flush: this.besideMs.flush / 1000 },
      phases: this.byKind,
      workers: workers.map(({ worker, tasks, busy, start, wait, phases }) => ({
        worker,
        tasks,
        busy,
        start,
        wait,
        phases,
      })),
      fused: this.fusedShares(),
    };
  }

  private fusedShares(): MergeProfile["fused"] {
    const { tiles, ...probed } = this.fused;
    const whole = shares.reduce((sum, s) => sum + probed[s], 0);
    if (whole === 0) return null;
    const scale = 1 + this.unprobed / whole;
    const [check, decode, combine, encode] = shares.map((s) => probed[s] * scale) as [number, number, number, number];
    return { estimatedFromEvery: probeEvery, tiles, check, decode, combine, encode };
  }
}

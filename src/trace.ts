// A profile as Chrome's trace events (the JSON that ui.perfetto.dev and chrome://tracing open): one track for the coordinator, one
// each for hashing and flushing, one for every worker.
// https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU

import { phases } from "./kernel/phases.ts";
import { maxBesideSpans, maxTaskSpans, type Profiler, type Span } from "./profile.ts";

/** A complete event (`X`, times in microseconds) or a name (`M`). */
export interface TraceEvent {
  readonly ph: "X" | "M";
  readonly name: string;
  readonly cat?: string;
  readonly ts: number;
  readonly dur: number;
  readonly pid: number;
  readonly tid: number;
  readonly args?: Readonly<Record<string, string | number>>;
}

const pid = 1;
const tids = { coordinator: 0, hash: 1, flush: 2, firstWorker: 10 } as const;
/** The most events that a trace has: a task span has its phases in it. Tracks and steps are few. */
export const maxTraceEvents = maxTaskSpans * (1 + phases.length) + 2 * maxBesideSpans + 4096;

/** What the phases are called where they are read. */
export const phaseTitles: Readonly<Record<(typeof phases)[number], string>> = {
  read: "read",
  check: "check",
  decode: "decode",
  mask: "mask",
  combine: "elect, combine",
  encode: "encode",
  merge: "merge (decode, elect, encode)",
  survey: "survey (trims, norms, dots)",
  probe: "profiling",
  other: "other",
  write: "write",
};

export function traceEvents(profiler: Profiler): TraceEvent[] {
  const events: TraceEvent[] = [];
  // Nanoseconds are whole, so that spans that touch do so exactly.
  const at = (ms: number) => Math.max(0, Math.round((ms - profiler.origin) * 1e6));
  const span = (tid: number, name: string, start: number, end: number, cat: string, args?: TraceEvent["args"]) =>
    events.push({
      ph: "X",
      name,
      cat,
      ts: start / 1000,
      dur: (end - start) / 1000,
      pid,
      tid,
      ...(args ? { args } : {}),
    });
  const title = (tid: number, what: "process_name" | "thread_name", name: string) =>
    events.push({ ph: "M", name: what, ts: 0, dur: 0, pid, tid, args: { name } });

  title(tids.coordinator, "process_name", "braid merge");
  title(tids.coordinator, "thread_name", "coordinator");
  for (const s of profiler.steps) span(tids.coordinator, s.name, at(s.start), at(s.end), "step");
  for (const what of ["hash", "flush"] as const) {
    const spans = profiler.beside[what].tracks.get(0) ?? [];
    if (spans.length > 0) title(tids[what], "thread_name", what);
    for (const s of spans) span(tids[what], s.name, at(s.start), at(s.end), what, { turns: s.parts });
  }
  for (const [worker, spans] of [...profiler.tasks.tracks].sort(([a], [b]) => a - b)) {
    const tid = tids.firstWorker + worker;
    title(tid, "thread_name", `worker ${worker}`);
    let free = 0;
    for (const s of spans) {
      // Two threads' clocks differ by less than a microsecond, but not by nothing.
      const start = Math.max(free, at(s.start));
      const end = Math.max(start, at(s.end));
      free = end;
      span(tid, spanName(s), start, end, s.task!.kind, taskArgs(s));
      let from = start;
      for (const [i, phase] of phases.entries()) {
        const to = Math.min(end, from + s.task!.phases[i]!);
        if (to > from) span(tid, phaseTitles[phase], from, to, "phase");
        from = to;
      }
    }
  }
  return events;
}

function spanName({ name, task }: Span): string {
  return task!.last === name ? name : `${name} … ${task!.last}`;
}

function taskArgs({ parts, task }: Span): Record<string, string | number> {
  const { kind, first, count } = task!;
  return parts === 1 ? { kind, first, count } : { kind, tasks: parts, first, count };
}

/** The trace file, an event a line. */
export function traceText(profiler: Profiler): string {
  const events = traceEvents(profiler).map((e) => JSON.stringify(e));
  const { partsPerSpan } = profiler.tasks;
  const otherData = {
    format: "braid-trace-1",
    phases: "Inside a task its phases are added up and stand one after the other, in the order of their first use.",
    tasksPerSpan: partsPerSpan,
    bounds:
      partsPerSpan === 1
        ? `Every task has its own span; from ${maxTaskSpans} tasks on, neighbours would share one.`
        : `There were more than ${maxTaskSpans} tasks, so a span stands for up to ${partsPerSpan} neighbouring ones and what a worker waited between them.`,
  };
  return `{"displayTimeUnit":"ms","otherData":${JSON.stringify(otherData)},"traceEvents":[\n${events.join(",\n")}\n]}\n`;
}

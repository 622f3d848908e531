// Profiles as data and as traces: from tasks that are made up, where every sum is known, and from a merge.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type Phase, phases } from "../src/kernel/phases.ts";
import type { Receipt, Task } from "../src/kernel/program.ts";
import { merge } from "../src/merge.ts";
import { maxBesideSpans, maxTaskSpans, Profiler } from "../src/profile.ts";
import { maxTraceEvents, phaseTitles, type TraceEvent, traceText } from "../src/trace.ts";
import { requestFor, testHost, withTempFolder } from "./support/host.ts";

const task = (id: number, count = 4096): Task => ({
  kind: "merge",
  id,
  first: id * 4096,
  count,
  inputs: [],
  output: { file: 0, start: 0 },
  program: { op: "copy", byteWidth: 1 },
  policy: { nonFinite: "error", overflow: "error" },
});

function receipt(
  id: number,
  worker: number,
  start: number,
  spent: Partial<Record<Phase, number>>,
  probe = {},
): Receipt {
  const all = Object.fromEntries(phases.map((p) => [p, (spent[p] ?? 0) * 1e6])) as Record<Phase, number>;
  const end = start + phases.reduce((sum, p) => sum + all[p], 0) / 1e6;
  return {
    kind: "merge",
    id,
    nonFinite: [],
    overflow: { count: 0, first: -1 },
    kept: [],
    differs: -1,
    nanoseconds: { read: 0, compute: 0, write: 0 },
    profile: {
      worker,
      start,
      end,
      phases: all,
      probe: { tiles: 0, check: 0, decode: 0, combine: 0, encode: 0, ...probe },
    },
  };
}

interface Trace {
  readonly otherData: Record<string, unknown>;
  readonly traceEvents: readonly TraceEvent[];
}
const traceOf = (profiler: Profiler) => JSON.parse(traceText(profiler)) as Trace;

/** Events of one track that neither lie inside one another nor apart. */
function crossing(events: readonly TraceEvent[]): string[] {
  const wrong: string[] = [];
  for (const tid of new Set(events.map((e) => e.tid))) {
    const open: TraceEvent[] = [];
    const nanoseconds = (us: number) => Math.round(us * 1000);
    const end = (e: TraceEvent) => nanoseconds(e.ts) + nanoseconds(e.dur);
    const track = events.filter((e) => e.tid === tid && e.ph === "X");
    for (const e of [...track].sort((a, b) => a.ts - b.ts || b.dur - a.dur)) {
      while (open.length > 0 && end(open.at(-1)!) <= nanoseconds(e.ts)) open.pop();
      if (open.length > 0 && end(e) > end(open.at(-1)!)) wrong.push(`${e.name} leaves ${open.at(-1)!.name}`);
      open.push(e);
    }
  }
  return wrong;
}

function expectValid({ traceEvents }: Trace): void {
  for (const e of traceEvents) {
    expect(["X", "M"]).toContain(e.ph);
    expect(e.name.length).toBeGreaterThan(0);
    for (const n of [e.ts, e.dur]) expect(Number.isFinite(n) && n >= 0).toBe(true);
    for (const n of [e.pid, e.tid]) expect(Number.isSafeInteger(n)).toBe(true);
  }
  expect(crossing(traceEvents)).toEqual([]);
}

describe("a profile", () => {
  /** Two workers, 100 ms: one starts at 10 and works 40, the other has nothing to do. */
  async function small() {
    let now = 5000;
    const profiler = new Profiler(() => now);
    profiler.expect(2);
    await profiler.step("plan", () => {
      now += 20;
    });
    await profiler.step("merge", () => {
      now += 100;
    });
    const probe = { tiles: 2, check: 1, decode: 1, combine: 4, encode: 2 };
    profiler.task("a", task(0), receipt(0, 0, 5030, { read: 5, merge: 16, other: 4 }, probe));
    profiler.task("b", task(1), receipt(1, 0, 5060, { read: 1, merge: 8, write: 6 }));
    return profiler;
  }

  test("adds up phases, waiting and starting, and divides the fused time as the probes say", async () => {
    const p = (await small()).summary();
    expect(p.seconds).toBeCloseTo(0.12, 9);
    expect(p.steps.map(({ name, seconds }) => [name, Math.round(seconds * 1000)])).toEqual([
      ["plan", 20],
      ["merge", 100],
    ]);
    const [one, two] = p.workers;
    expect(one!.tasks).toBe(2);
    expect(one!.start).toBeCloseTo(0.01, 9);
    expect(one!.busy).toBeCloseTo(0.04, 9);
    expect(one!.wait).toBeCloseTo(0.05, 9);
    expect([two!.tasks, two!.busy, two!.start, two!.wait]).toEqual([0, 0, 0.1, 0]);
    expect(p.phases.merge.merge).toBeCloseTo(0.024, 9);
    expect(p.phases.survey.read).toBe(0);
    expect(p.fused!.tiles).toBe(2);
    // 16 ms as 1 : 1 : 4 : 2, and the 8 ms of the task without a probe in the same way.
    expect(p.fused!.decode).toBeCloseTo(0.003, 9);
    expect(p.fused!.combine).toBeCloseTo(0.012, 9);
    expect(p.fused!.encode).toBeCloseTo(0.006, 9);
    expect(p.fused!.check).toBeCloseTo(0.003, 9);
  });

  test("as a trace has a track for each and the phases inside their task", async () => {
    const trace = traceOf(await small());
    expectValid(trace);
    const spans = trace.traceEvents.filter((e) => e.ph === "X" && e.tid === 10);
    expect(spans.map((e) => [e.name, e.ts, e.dur])).toEqual([
      ["a", 30_000, 25_000],
      ["read", 30_000, 5_000],
      [phaseTitles.merge, 35_000, 16_000],
      ["other", 51_000, 4_000],
      ["b", 60_000, 15_000],
      ["read", 60_000, 1_000],
      [phaseTitles.merge, 61_000, 8_000],
      ["write", 69_000, 6_000],
    ]);
    expect(spans[0]!.args).toEqual({ kind: "copy", first: 0, count: 4096 });
  });

  test("of very many tasks stays small, and keeps all of the time", () => {
    let now = 0;
    const profiler = new Profiler(() => now);
    const all = 10 * maxTaskSpans + 3;
    const spent = Object.fromEntries(phases.map((p) => [p, 0.01]));
    for (let id = 0; id < all; id++) {
      now = id;
      profiler.besideSince("hash", "f", id);
      profiler.task(`t${id}`, task(id), receipt(id, id % 3, id, spent));
    }
    const trace = traceOf(profiler);
    expectValid(trace);
    expect(trace.traceEvents.length).toBeLessThanOrEqual(maxTraceEvents);
    expect(trace.traceEvents.length).toBeGreaterThan(maxTaskSpans);
    expect(trace.traceEvents.filter((e) => e.cat === "hash").length).toBeLessThanOrEqual(maxBesideSpans);
    const tasks = trace.traceEvents.filter((e) => e.args?.kind);
    expect(tasks.reduce((sum, e) => sum + Number(e.args!.tasks ?? 1), 0)).toBe(all);
    expect(tasks.reduce((sum, e) => sum + Number(e.args!.count), 0)).toBe(all * 4096);
    const reads = trace.traceEvents.filter((e) => e.cat === "phase" && e.name === "read");
    expect(reads.reduce((sum, e) => sum + e.dur, 0)).toBeCloseTo(all * 10, 3);
    expect(trace.otherData.tasksPerSpan).toBe(16);
    expect(String(trace.otherData.bounds)).toContain("up to 16 neighbouring");
  });

  test("of a merge: phases make up a worker's busy time, and the output is the same bytes", () =>
    withTempFolder(async (folder) => {
      const models = ["ft-add", "ft-rev", "ft-sort"].map((m) => `  - model: examples/models/${m}\n`).join("");
      for (const [method, parameters] of [
        ["dare_ties", "{ density: 0.5, weight: 1 }"],
        ["ties", "{ density: 0.5, weight: 1 }"],
      ]) {
        const text = `merge_method: ${method}\nbase_model: examples/models/base\nparameters: ${parameters}\nmodels:\n${models}`;
        const host = testHost();
        const profiler = new Profiler(host.now);
        const plain = await merge(requestFor(text), join(folder, `${method}-plain`), { overwrite: false }, host);
        const out = join(folder, `${method}-profiled`);
        const { profile, files } = await merge(requestFor(text), out, { overwrite: false, profiler }, host);
        expect(files).toEqual(plain.files);
        expect(plain.profile).toBeUndefined();
        expect(profile!.steps.map((s) => s.name)).toEqual([
          "plan",
          "stage",
          "merge",
          "sync",
          "hash",
          "files",
          "commit",
        ]);
        for (const { busy, phases: spent, start, wait } of profile!.workers) {
          const sum = Object.values(spent).reduce((a, b) => a + b, 0);
          expect(Math.abs(sum - busy)).toBeLessThan(0.02 * busy + 1e-4);
          const run = profile!.steps.find((s) => s.name === "merge")!.seconds;
          expect(start + busy + wait).toBeCloseTo(run, 6);
          for (const phase of ["read", "merge", "write"] as const) expect(spent[phase]).toBeGreaterThan(0);
          expect(spent.mask > 0).toBe(method === "dare_ties");
          expect(spent.survey > 0).toBe(method === "ties");
        }
        const { fused } = profile!;
        expect(fused!.tiles).toBeGreaterThan(0);
        const parts = fused!.check + fused!.decode + fused!.combine + fused!.encode;
        expect(parts).toBeCloseTo(profile!.phases.merge.merge, 9);
        expectValid(traceOf(profiler));
      }
    }));
});

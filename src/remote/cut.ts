// Tasks for nodes that take little at a time: cut into parts that fit, and put together again from what the parts gave, so that the
// answer is the one of the whole task, bit for bit. Who audits and counts never learns that there were parts.

import { addPairs, emptySlots, giveBack } from "../exec/rounds.ts";
import { cutLines } from "../exec/scalars.ts";
import type { MergeReceipt, NonFinite, Receipt, SurveyPart, SurveyReceipt, Task } from "../kernel/program.ts";
import { maxSlots, pieceElements, tileElements, tileOf } from "../kernel/program.ts";
import { cutView } from "../kernel/view.ts";
import type { TaskResult } from "./kernels.ts";
import { rangeBytes, rangesOf } from "./ranges.ts";
import { outputBytes } from "./wire.ts";

/** Bytes that a task brings back at most, without its descriptor. */
function answerBytes(task: Task): number {
  if (task.kind === "merge") return outputBytes(task);
  const { round, count } = task;
  const n = round.operands.length;
  const blocks = Math.ceil(count / tileElements) + 1;
  switch (round.op) {
    case "dots":
      return round.lines ? 0 : 8 * blocks * ((n * (n + 1)) / 2);
    case "norms":
      return 16 * blocks * n;
    case "sample":
      return 4 * count * n;
    case "histogram":
      return 8 * Math.min(maxSlots, count) * n;
    default:
      return 4 * blocks * n;
  }
}

const fits = (task: Task, limit: number): boolean => rangeBytes(rangesOf(task)) <= limit && answerBytes(task) <= limit;

/** Elements that must stay together; 0 where all of them must. */
function grain(task: Task): number {
  if (task.kind === "merge") {
    const { program } = task;
    if (program.op === "copy") return tileElements;
    return program.op === "merge" ? tileOf(program.terms) : 0;
  }
  const { round, pieces, pieceLength = pieceElements } = task;
  if (pieces) return pieceLength;
  // Sums of columns are kept a task, and adding those of parts would round otherwise.
  if (round.op === "nth" || (round.op === "dots" && round.lines?.by === "column")) return 0;
  return tileOf(round.operands);
}

function part(task: Task, offset: number, count: number): Task {
  if (task.kind === "survey" && task.pieces) {
    const { pieceLength = pieceElements } = task;
    const pieces = task.pieces.slice(offset / pieceLength, (offset + count) / pieceLength);
    return { ...task, count, pieces };
  }
  const first = task.first + offset;
  const inputs = task.inputs.map((i) => (i.view ? { ...i, view: cutView(i.view, first, count) } : i));
  if (task.kind === "survey") return { ...task, first, count, inputs };
  const { program } = task;
  return { ...task, first, count, inputs, program: program.op === "merge" ? cutLines(program, first, count) : program };
}

/**
 * Parts of a task, in order, none of which reads or brings back more than `limit` bytes; the task alone when it fits. Null when it
 * cannot be cut so far.
 */
export function cutTask(task: Task, limit: number): readonly Task[] | null {
  if (fits(task, limit)) return [task];
  const tile = grain(task);
  if (tile === 0) return null;
  const tiles = Math.ceil(task.count / tile);
  const bytes = Math.max(rangeBytes(rangesOf(task)), answerBytes(task));
  for (let parts = Math.ceil(bytes / limit); ; parts *= 2) {
    const size = Math.max(1, Math.floor(tiles / parts)) * tile;
    const cut: Task[] = [];
    for (let at = 0; at < task.count; at += size) cut.push(part(task, at, Math.min(size, task.count - at)));
    if (cut.every((p) => fits(p, limit))) return cut;
    if (size === tile) return null;
  }
}

/** What the whole task would have given, from what its parts gave. */
export function joinResults(task: Task, results: readonly TaskResult[]): TaskResult {
  const [only] = results;
  if (results.length === 1) return only!;
  const output = new Uint8Array(results.reduce((sum, r) => sum + r.output.length, 0));
  let at = 0;
  for (const result of results) {
    output.set(result.output, at);
    at += result.output.length;
  }
  return {
    receipt: joinReceipts(
      task,
      results.map((r) => r.receipt),
    ),
    output,
  };
}

function joinReceipts(task: Task, receipts: readonly Receipt[]): Receipt {
  const nonFinite = joinNonFinite(receipts);
  const nanoseconds = { read: 0, compute: 0, write: 0 };
  for (const r of receipts) for (const k of ["read", "compute", "write"] as const) nanoseconds[k] += r.nanoseconds[k];
  if (task.kind === "survey") {
    const result = joinParts(
      task,
      receipts.map((r) => (r as SurveyReceipt).result),
    );
    return { kind: "survey", id: task.id, nonFinite, result, nanoseconds };
  }
  const all = receipts as readonly MergeReceipt[];
  const overflow = {
    count: all.reduce((sum, r) => sum + r.overflow.count, 0),
    first: all.find((r) => r.overflow.count > 0)?.overflow.first ?? -1,
  };
  const kept = plus(all.map((r) => r.kept));
  const differing = all.flatMap((r) => (r.differs < 0 ? [] : [r.differs]));
  const differs = differing.length > 0 ? Math.min(...differing) : -1;
  return { kind: "merge", id: task.id, nonFinite, overflow, kept, differs, nanoseconds };
}

function joinNonFinite(receipts: readonly Receipt[]): NonFinite[] {
  const seen = new Map<number, NonFinite>();
  for (const { nonFinite } of receipts) {
    for (const n of nonFinite) {
      const was = seen.get(n.input);
      seen.set(n.input, was ? { ...was, count: was.count + n.count } : n);
    }
  }
  return [...seen.values()].sort((a, b) => a.input - b.input);
}

const plus = (lists: readonly (readonly number[])[]): number[] =>
  lists[0]!.map((_, i) => lists.reduce((sum, list) => sum + list[i]!, 0));

/** Arrays one after the other, operand by operand. */
function chain<T extends Float64Array | Uint32Array>(
  parts: readonly (readonly T[])[],
  make: (length: number) => T,
): T[] {
  return parts[0]!.map((_, i) => {
    const whole = make(parts.reduce((sum, p) => sum + p[i]!.length, 0));
    let at = 0;
    for (const p of parts) {
      whole.set(p[i]!, at);
      at += p[i]!.length;
    }
    return whole;
  });
}

const f64 = (length: number) => new Float64Array(length);
const u32 = (length: number) => new Uint32Array(length);

function joinParts({ round }: Extract<Task, { kind: "survey" }>, parts: readonly SurveyPart[]): SurveyPart {
  const all = <Op extends SurveyPart["op"]>(op: Op) =>
    parts.map((p) => {
      if (p.op !== op) throw new TypeError(`expected ${op} in every part`);
      return p as Extract<SurveyPart, { op: Op }>;
    });
  switch (round.op) {
    case "census":
      throw new TypeError("a census is not sent");
    case "dots":
      return {
        op: "dots",
        blocks: chain(
          all("dots").map((p) => p.blocks),
          f64,
        ),
      };
    case "norms": {
      const norms = all("norms");
      return {
        op: "norms",
        l1: chain(
          norms.map((p) => p.l1),
          f64,
        ),
        l2: chain(
          norms.map((p) => p.l2),
          f64,
        ),
        max: round.operands.map((_, i) => Math.max(...norms.map((p) => p.max[i]!))),
        nonzero: plus(norms.map((p) => p.nonzero)),
      };
    }
    case "contributors": {
      const counts = all("contributors");
      return { op: "contributors", alone: plus(counts.map((p) => p.alone)), shared: plus(counts.map((p) => p.shared)) };
    }
    case "signs": {
      const [positive, negative] = plus(all("signs").map((p) => [p.positive, p.negative])) as [number, number];
      return { op: "signs", positive, negative };
    }
    case "sample":
      return {
        op: "sample",
        keys: chain(
          all("sample").map((p) => p.keys),
          u32,
        ),
      };
    case "equals":
      return {
        op: "equals",
        blocks: chain(
          all("equals").map((p) => p.blocks),
          u32,
        ),
      };
    case "histogram": {
      const counts = all("histogram");
      const bins = round.operands.map((o, i) => {
        const slots = emptySlots(o);
        for (const p of counts) addPairs(slots, p.bins[i]!, o);
        const found: number[] = [];
        slots.counts.forEach((n, slot) => {
          if (n > 0) found.push(slots.keys[slot]!, n);
        });
        giveBack(slots);
        return Uint32Array.from(found);
      });
      return {
        op: "histogram",
        above: plus(counts.map((p) => p.above)),
        nonzero: plus(counts.map((p) => p.nonzero)),
        bins,
      };
    }
    case "nth":
      throw new TypeError("a task that looks for one element has no parts");
  }
}

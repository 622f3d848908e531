// Whether a node tells the truth. Any block of a slice can be computed alone, so a few of them, at places the node cannot know,
// are computed here and compared; and some slices are computed here whole.

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import type { JobFiles } from "../exec/files.ts";
import type { MergeTask, Receipt, Task } from "../kernel/program.ts";
import { tileElements, tileOf } from "../kernel/program.ts";
import { encodeFrame } from "./frame.ts";
import type { NodeKernels, TaskData, TaskResult } from "./kernels.ts";
import { type Range, rangeBytes, rangesOf } from "./ranges.ts";
import { outputBytes } from "./wire.ts";

/**
 * Blocks of every slice that are computed again. With one block in a hundred wrong, four of them miss it 100 slices long with
 * probability 0.99⁴⁰⁰ = 1.8 %; on slices of 1 Mi elements they are 1.6 % of the work.
 */
export const auditBlocks = 4;
/** Tasks that are computed again whole: the first ones, then every power of two. */
export const wholeAudits = 2;
/** Of surveys, whose parts are sums over all of a slice, one in so many more. */
export const surveyAudits = 8;

/** `n`: tasks of this node that were accepted before. */
export function auditsWhole(task: Task, n: number, random: () => number): boolean {
  const power = n < wholeAudits || (n & (n - 1)) === 0;
  return power || (task.kind === "survey" && random() * surveyAudits < 1);
}

/** What a receipt says, without the times: equal for equal work. */
export function receiptHash(receipt: Receipt): string {
  const { nanoseconds: _, profile: __, ...facts } = receipt;
  return bytesToHex(sha256(encodeFrame(sorted(facts)).bytes));
}

/** Fields in one order: a node may write them in another. */
function sorted(value: unknown): unknown {
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  if (Array.isArray(value)) return value.map(sorted);
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, v]) => [key, sorted(v)]));
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export interface AuditorOptions {
  readonly files: Pick<JobFiles, "read">;
  readonly kernels: NodeKernels;
  /** In [0, 1), unknown to the nodes. */
  readonly random: () => number;
}

export class Auditor {
  private readonly options: AuditorOptions;
  private readonly never = new AbortController().signal;

  constructor(options: AuditorOptions) {
    this.options = options;
  }

  read(range: Range, target: Uint8Array): void | Promise<void> {
    return this.options.files.read({ file: range.file, start: range.start }, 0, target);
  }

  /** The task as it should be. */
  async compute(task: Task): Promise<TaskResult> {
    const ranges = rangesOf(task);
    const data: TaskData = { ranges, bytes: new Uint8Array(rangeBytes(ranges)) };
    let at = 0;
    for (const range of ranges) {
      const length = range.end - range.start;
      const pending = this.read(range, data.bytes.subarray(at, at + length));
      if (pending) await pending;
      at += length;
    }
    return this.options.kernels.run(task, data, this.never);
  }

  /** What is wrong with a result, or null when nothing was found. */
  async fault(task: Task, result: TaskResult, whole: boolean): Promise<string | null> {
    if (!whole && task.kind === "survey") return null;
    if (whole || task.kind === "survey") {
      const want = await this.compute(task);
      if (!sameBytes(want.output, result.output)) return "its bytes are not those of this slice";
      return receiptHash(want.receipt) === receiptHash(result.receipt) ? null : "its receipt says what is not so";
    }
    return this.blocks(task, result);
  }

  private async blocks(task: MergeTask, result: TaskResult): Promise<string | null> {
    const tile = task.program.op === "merge" ? tileOf(task.program.terms) : tileElements;
    const tiles = Math.ceil(task.count / tile);
    const chosen = new Set<number>();
    for (let i = 0; i < auditBlocks; i++) chosen.add(Math.floor(this.options.random() * tiles));
    const width = outputBytes(task) / task.count;
    for (const block of chosen) {
      const offset = block * tile;
      const count = Math.min(tile, task.count - offset);
      const want = await this.compute({ ...task, first: task.first + offset, count });
      if (!sameBytes(want.output, result.output.subarray(offset * width, (offset + count) * width)))
        return `its bytes from element ${task.first + offset} on are not those of this slice`;
    }
    return null;
  }
}

const goldenElements = 2 * tileElements + 37;

/** A small merge of bytes that nobody saw before, for a node that wants to join: DARE of two models in bf16, with a tail. */
export function goldenTask(count = goldenElements): { task: MergeTask; data: TaskData } {
  const stream = new Uint16Array(3 * count);
  for (let at = 0; at < stream.length; at += 32_768) crypto.getRandomValues(stream.subarray(at, at + 32_768));
  // Without the upper bit of the exponent they are finite and below 2.
  for (let i = 0; i < stream.length; i++) stream[i]! &= 0xbfff;
  const [k0, k1] = crypto.getRandomValues(new Uint32Array(2)) as unknown as [number, number];
  const ranges = [0, 1, 2].map((file) => ({ file, start: 0, end: 2 * count }));
  const term = (input: number) => ({
    input,
    weight: input / 2,
    scale: 2,
    keep: { random: { key: [(k0 ^ input) >>> 0, k1] as const, threshold: 2 ** 31 } },
  });
  const task: MergeTask = {
    kind: "merge",
    id: 0,
    first: 0,
    count,
    inputs: [0, 1, 2].map((file) => ({ file, start: 0 })),
    output: { file: 3, start: 0 },
    program: {
      op: "merge",
      inputs: ["BF16", "BF16", "BF16"],
      out: "BF16",
      base: 0,
      terms: [term(1), term(2)],
      combine: { op: "sum" },
      lambda: 1,
    },
    policy: { nonFinite: "keep", overflow: "inf" },
  };
  return { task, data: { ranges, bytes: new Uint8Array(stream.buffer) } };
}

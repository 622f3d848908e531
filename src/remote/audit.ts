// Whether a node tells the truth. Any block of a slice can be computed alone, so a few of them, at places the node cannot know,
// are computed here and compared; and some slices are computed here whole.

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import type { MergeTask, Receipt, Task } from "../kernel/program.ts";
import { tileElements, tileOf } from "../kernel/program.ts";
import { encodeFrame } from "./frame.ts";
import { type OwnKernels, sliceStart, type TaskData, type TaskResult } from "./kernels.ts";
import type { OutputFiles } from "./outputs.ts";
import { outputBytes } from "./wire.ts";

/**
 * Blocks of every slice that are computed again. With one block in a hundred wrong, four of them miss it 100 slices long with
 * probability 0.99⁴⁰⁰ = 1.8 %; on slices of 1 Mi elements they are 1.6 % of the work.
 */
export const auditBlocks = 4;
/** Tasks of a node that are computed again whole: the first ones, then every power of four. */
export const wholeAudits = 2;
/** Of surveys, whose parts are sums over all of a slice, one in so many more. */
export const surveyAudits = 8;

/** `n`: tasks of this node that were accepted before. */
export function auditsWhole(task: Task, n: number, random: () => number): boolean {
  let power = n < wholeAudits;
  for (let p = 4; p <= n && !power; p *= 4) power = p === n;
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
  let i = 0;
  if ((a.byteOffset | b.byteOffset) % 4 === 0) {
    // Four times as fast; integers, so that equal NaNs are equal.
    const words = a.length >> 2;
    const [x, y] = [a, b].map((v) => new Int32Array(v.buffer, v.byteOffset, words)) as [Int32Array, Int32Array];
    for (let w = 0; w < words; w++) if (x[w] !== y[w]) return false;
    i = 4 * words;
  }
  for (; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export interface AuditorOptions {
  readonly files: Pick<OutputFiles, "read" | "write" | "readBack">;
  readonly kernels: OwnKernels;
  /** In [0, 1), unknown to the nodes. */
  readonly random: () => number;
}

export class Auditor {
  private readonly options: AuditorOptions;
  private back = new Uint8Array();

  constructor(options: AuditorOptions) {
    this.options = options;
  }

  /** What is wrong with a result, or null when nothing was found. */
  async fault(task: Task, result: TaskResult, whole: boolean): Promise<string | null> {
    if (whole) {
      const { receipt, wrong } = await this.compare(task, result);
      if (wrong !== null) return `its bytes from ${this.place(task, wrong)} on are not those of this slice`;
      return receiptHash(receipt) === receiptHash(result.receipt) ? null : "its receipt says what is not so";
    }
    return task.kind === "survey" ? null : this.blocks(task, result);
  }

  /** Does a task again, in its place. Tells whether other bytes were there before. */
  async redo(task: Task): Promise<{ receipt: Receipt; changed: boolean }> {
    const { files, kernels } = this.options;
    let changed = false;
    const receipt = await kernels.runOn(task, {
      read: (at, offset, target) => files.read(at, offset, target),
      write: async (at, offset, data) => {
        const before = this.space(data.length);
        await files.readBack(at.file, at.start + offset, before);
        if (sameBytes(before, data)) return;
        changed = true;
        await files.write(at, offset, data);
      },
    });
    return { receipt, changed };
  }

  private async blocks(task: MergeTask, result: TaskResult): Promise<string | null> {
    const tile = task.program.op === "merge" ? tileOf(task.program.terms) : tileElements;
    const tiles = Math.ceil(task.count / tile);
    const chosen = new Set<number>();
    for (let i = 0; i < auditBlocks; i++) chosen.add(Math.floor(this.options.random() * tiles));
    const start = sliceStart(task);
    for (const block of chosen) {
      const first = task.first + block * tile;
      const count = Math.min(tile, task.first + task.count - first);
      const { wrong } = await this.compare({ ...task, first, count }, result, start);
      if (wrong !== null) return `its bytes from ${this.place(task, wrong)} on are not those of this slice`;
    }
    return null;
  }

  /**
   * Computes a task and compares it with a result on the way, so that no slice is ever held twice. `start`: where the result begins
   * in the output file. Gives the byte of the file from which on they differ.
   */
  private async compare(
    task: Task,
    { output, written }: TaskResult,
    start = sliceStart(task),
  ): Promise<{ receipt: Receipt; wrong: number | null }> {
    const { files, kernels } = this.options;
    let wrong: number | null = null;
    const receipt = await kernels.runOn(task, {
      read: (at, offset, target) => files.read(at, offset, target),
      write: (at, offset, data) => {
        if (wrong !== null) return;
        const from = at.start + offset;
        const check = (got: Uint8Array) => {
          if (!sameBytes(got, data)) wrong = from;
        };
        if (!written) return check(output.subarray(from - start, from - start + data.length));
        const got = this.space(data.length);
        const pending = files.readBack(at.file, from, got);
        return pending ? pending.then(() => check(got)) : check(got);
      },
    });
    return { receipt, wrong };
  }

  private place(task: Task, byte: number): string {
    if (task.kind !== "merge") return "the first";
    return `element ${(byte - task.output.start) / (outputBytes(task) / task.count)}`;
  }

  private space(length: number): Uint8Array {
    if (this.back.length < length) this.back = new Uint8Array(length);
    return this.back.subarray(0, length);
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

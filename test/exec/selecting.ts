// Selections as the conductor makes them, and by sorting.

import { gather } from "../../src/exec/gather.ts";
import { RoundMerger, type RoundRequest } from "../../src/exec/rounds.ts";
import { compileKernel, createKernel } from "../../src/kernel/kernel.ts";
import type { SurveyTask, ThresholdOperand } from "../../src/kernel/program.ts";
import * as reference from "../../src/kernel/reference.ts";
import { Runner, workerBytesFor } from "../../src/kernel/run.ts";
import type { SurveyResult, Threshold } from "../../src/methods/method.ts";
import type { FloatDtype } from "../../src/tensor/dtype.ts";
import { random } from "../kernel/harness.ts";

/** An input as stored, and what it means. */
export interface Input {
  readonly dtype: FloatDtype;
  readonly bytes: Uint8Array;
  readonly value: Float32Array;
}

const encoders = { F32: reference.encode_f32, BF16: reference.encode_bf16, F16: reference.encode_f16 };
const decoders = {
  F32: (b: Uint16Array | Uint32Array) => new Float32Array(b.buffer),
  BF16: (b: Uint16Array | Uint32Array) => reference.decode_bf16(b as Uint16Array),
  F16: (b: Uint16Array | Uint32Array) => reference.decode_f16(b as Uint16Array),
};

export function input(dtype: keyof typeof encoders, x: Float32Array): Input {
  const bits = encoders[dtype](x);
  return { dtype, bytes: new Uint8Array(bits.buffer), value: decoders[dtype](bits) };
}

const kernel = createKernel(compileKernel(), workerBytesFor(4, 16, 16384));

/**
 * Gathers as the conductor does, in slices of `slice` that come back in any order; says what the rounds were, and the guesses that they
 * came with.
 */
export async function select(
  inputs: readonly Input[],
  operands: readonly ThresholdOperand[],
  slice: number,
  tries = false,
) {
  const io = {
    read: (at: { file: number }, offset: number, target: Uint8Array) =>
      target.set(inputs[at.file]!.bytes.subarray(offset, offset + target.length)),
    write: () => {},
  };
  const runner = new Runner(kernel, io, () => 0);
  const count = inputs[0]!.value.length;
  const dtypes = inputs.map((i) => i.dtype);
  const draw = random(slice);
  const rounds: string[] = [];
  const ask = (request: RoundRequest): SurveyTask[] => {
    const common = { kind: "survey", inputs: inputs.map((_, file) => ({ file, start: 0 })), dtypes } as const;
    const { round, first, pieces, pieceLength } = request;
    const length = pieceLength ? { pieceLength } : {};
    if (pieces) return [{ ...common, id: 0, first, count: request.count, round, pieces, ...length }];
    return Array.from({ length: Math.ceil(request.count / slice) }, (_, id) => {
      return { ...common, id, first: first + id * slice, count: Math.min(slice, request.count - id * slice), round };
    });
  };
  const guesses: (SurveyResult | undefined)[] = [];
  const steps = gather({ op: "threshold", inputs: dtypes, operands }, count, tries);
  let step = steps.next();
  while (!step.done) {
    const { round, pieceLength, guess } = step.value;
    rounds.push(pieceLength ? `${round.op} of pieces` : round.op);
    guesses.push(guess);
    const merger = new RoundMerger(step.value);
    const tasks = ask(step.value).sort(() => (draw() % 2 ? 1 : -1));
    let outcome = null;
    for (const task of tasks) {
      const receipt = await runner.run(task);
      if (receipt.kind === "survey") outcome = merger.add(receipt.result, task.first, task.count) ?? outcome;
    }
    step = steps.next(outcome!);
  }
  if (step.value.op !== "threshold") throw new TypeError("not thresholds");
  return { thresholds: step.value.thresholds, rounds, guesses };
}

/** The same by sorting. */
export function sorted(inputs: readonly Input[], o: ThresholdOperand): Threshold {
  const finite = (v: number) => (Number.isFinite(v) ? v : 0);
  const base = o.base === null ? null : inputs[o.base]!.value;
  const good = (i: number) => Number.isFinite(inputs[o.input]!.value[i]!) && (!base || Number.isFinite(base[i]!));
  const x = inputs[o.input]!.value.map((v, i) => (good(i) ? v - (base ? base[i]! : 0) : 0)).map(finite);
  const { random: drop } = o.keep;
  const kept = drop ? reference.select(x, reference.keep_mask(drop.key, 0, 0, drop.threshold, x.length)) : x;
  const keys = new Uint32Array(kept.buffer).map((bits) => bits & 0x7fffffff);
  const order = keys.slice().sort().reverse();
  const nonzero = order.filter((key) => key > 0).length;
  const share = o.density * (o.of === "nonzero" ? nonzero : x.length);
  const k = Math.max(1, o.rounding === "floor" ? Math.floor(share) : Math.floor(share + 0.5));
  const all = Number.MAX_SAFE_INTEGER;
  if (k >= nonzero) return { key: 0, equalBefore: all, kept: x.length };
  const key = order[k - 1]!;
  const reached = order.filter((other) => other >= key).length;
  if (o.ties === "include" || reached === k) return { key, equalBefore: all, kept: reached };
  let quota = k - order.filter((other) => other > key).length;
  const equalBefore = keys.findIndex((other) => other === key && quota-- === 0);
  return { key, equalBefore, kept: k };
}

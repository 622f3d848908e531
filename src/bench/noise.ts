// Models that are nowhere: a safetensors header, and behind it weights from a generator, in memory. What is measured on them is
// the program that merges, neither a disk nor a download.

import type { ByteSink } from "../bytes/sink.ts";
import type { ByteSource, FileSystem, Folder } from "../bytes/source.ts";
import type { Opener } from "../exec/files.ts";
import { byteWidth, type FloatDtype } from "../tensor/dtype.ts";
import { layoutHeader } from "../tensor/encode.ts";

/** One tensor of `count` elements. Model 0 is the base; the others are near to it. */
export interface NoiseModel {
  readonly dtype: FloatDtype;
  readonly model: number;
  readonly count: number;
}

const scheme = "noise";
const fileName = "model.safetensors";
/** Elements after which the weights repeat: 128 KiB of bf16, which stay in L2 as what was just read from a file does. */
const period = 65_536;

export const noisePath = ({ dtype, model, count }: NoiseModel): string => `${scheme}:${dtype}:${model}:${count}`;

function parsePath(path: string): NoiseModel {
  const match = /^noise:(F32|BF16|F16):(\d+):(\d+)(?:\/.*)?$/.exec(path);
  if (!match) throw new RangeError(`not the path of a noise model: ${path}`);
  return { dtype: match[1] as FloatDtype, model: Number(match[2]), count: Number(match[3]) };
}

/** Sums of three even draws, roughly normal; the same for the same seed everywhere. */
function draws(seed: number): () => number {
  let state = (Math.imul(seed + 1, 2654435761) + 1) >>> 0;
  const draw = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  return () => draw() + draw() + draw();
}

/** Weights of about ±0.02, and a fine-tune that moved them by a tenth of that. */
function weights({ dtype, model }: NoiseModel): Uint8Array {
  const base = draws(0);
  const moved = draws(model);
  const values = Float32Array.from({ length: period }, () => base() * 0.04 + (model > 0 ? moved() * 0.004 : 0));
  if (dtype === "F32") return new Uint8Array(values.buffer);
  const bits = new Uint32Array(values.buffer);
  const narrow = Uint16Array.from(bits, dtype === "BF16" ? (b) => b >>> 16 : toHalf);
  return new Uint8Array(narrow.buffer);
}

/** f32 bits → f16 bits, cut off; what is too small for a normal f16 becomes zero. For values below 65,504. */
function toHalf(bits: number): number {
  const exponent = ((bits >>> 23) & 0xff) - 112;
  const sign = (bits >>> 16) & 0x8000;
  return exponent <= 0 ? sign : sign | (exponent << 10) | ((bits >>> 13) & 0x3ff);
}

class NoiseSource implements ByteSource {
  readonly name: string;
  readonly byteLength: number;
  private readonly header: Uint8Array;
  private readonly what: NoiseModel;
  /** Made when it is asked for: plans read headers only. */
  private block: Uint8Array | null = null;

  constructor(path: string) {
    const what = parsePath(path);
    this.name = path;
    this.header = layoutHeader([{ name: "weight", dtype: what.dtype, shape: [what.count] }]).bytes;
    this.what = what;
    this.byteLength = this.header.length + what.count * byteWidth(what.dtype);
  }

  read(start: number, target: Uint8Array): void {
    let done = 0;
    if (start < this.header.length) {
      const part = this.header.subarray(start, start + target.length);
      target.set(part);
      done = part.length;
    }
    if (done === target.length) return;
    this.block ??= weights(this.what);
    while (done < target.length) {
      const from = (start + done - this.header.length) % this.block.length;
      const part = this.block.subarray(from, from + target.length - done);
      target.set(part, done);
      done += part.length;
    }
  }

  close(): void {}
}

const nowhere: ByteSink = { name: "nowhere", write() {}, sync() {}, close() {} };

/** Noise models to read, and nothing behind what is written. */
export const noiseOpener: Opener = { source: (path) => new NoiseSource(path), sink: () => nowhere };

/** A file system in which every noise model is a folder. */
export const noiseFiles: FileSystem = {
  kind: (path) => (path.startsWith(`${scheme}:`) ? "folder" : null),
  readText: (path) => {
    throw new RangeError(`there is no text at ${path}`);
  },
  resolve: (_, path) => path,
  split: (path) => ({ folder: path, file: fileName }),
  folder: (path): Folder => ({
    name: path,
    list: async () => [fileName],
    open: async () => new NoiseSource(path),
    locate: (file) => `${path}/${file}`,
  }),
};

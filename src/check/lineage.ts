// Whether models descend from one: what their headers share, and with samples of their tensors, how far they are from each other.

import type { ByteSource } from "../bytes/source.ts";
import type { Host } from "../host.ts";
import { type InputModel, type Override, tensorNames } from "../plan/model.ts";
import { decoders } from "../tensor/decode.ts";
import { byteWidth } from "../tensor/dtype.ts";

/** Of all tensors that either model has, those that both have. */
export interface HeaderShare {
  readonly a: number;
  readonly b: number;
  readonly tensors: number;
  readonly equalShape: number;
  readonly equalShapeAndDtype: number;
}

/** Indices are of `models`; `a` < `b`. */
export function sharesOf(models: readonly InputModel[]): HeaderShare[] {
  const names = models.map(tensorNames);
  return models.flatMap((one, a) =>
    models.slice(a + 1).map((other, i) => {
      const b = a + 1 + i;
      const common = [...names[a]!].filter((name) => names[b]!.has(name));
      const pairs = common.map((name) => [stored(one, name), stored(other, name)] as const);
      const equal = pairs.filter(([x, y]) => String(x.shape) === String(y.shape));
      return {
        a,
        b,
        tensors: names[a]!.size + names[b]!.size - common.length,
        equalShape: equal.length,
        equalShapeAndDtype: equal.filter(([x, y]) => x.dtype === y.dtype).length,
      };
    }),
  );
}

/** As it is in the file, but for tensors that only an adapter has. */
function stored({ tensors, overrides }: InputModel, name: string): Override {
  return tensors.get(name) ?? overrides.get(name)!;
}

/** What is read of each tensor: pieces spread evenly over its elements, or all of a small one. */
const pieceElements = 512;
const pieces = 4;
/** Of models with more tensors, this many are read: at 2,048 elements, 16 MiB of a bf16 model at most. */
const maxSampled = 4096;

export interface Distance {
  /** Index of the model. */
  readonly model: number;
  readonly sampled: number;
  /** Of the sampled tensors, those whose sample has the same bytes. */
  readonly identical: number;
  /** Over the sampled elements of matrices: mean |x − base|, and the same over mean |base|. Null where nothing was compared. */
  readonly meanDelta: number | null;
  readonly relative: number | null;
  /** The tensor of the largest relative distance. */
  readonly farthest: { readonly tensor: string; readonly relative: number } | null;
  readonly bytesRead: number;
}

/**
 * Reads samples of the tensors that `model` and `base` both store as they are: what an adapter changes is left out. A tensor is
 * sampled by position, so the answer does not depend on anything but the files.
 */
export async function distanceOf(
  model: number,
  models: readonly InputModel[],
  base: number,
  host: Host,
): Promise<Distance> {
  const [one, from] = [models[model]!, models[base]!];
  const readers = [new Reader(one, host), new Reader(from, host)] as const;
  let [sampled, identical, delta, size, count, bytesRead] = [0, 0, 0, 0, 0, 0];
  let farthest: Distance["farthest"] = null;
  try {
    for (const name of chosen(one, from)) {
      host.signal.throwIfAborted();
      const [x, y] = [plain(one, name)!, plain(from, name)!];
      const [a, b] = [await readers[0].sample(x), await readers[1].sample(y)];
      bytesRead += a.length + b.length;
      sampled++;
      if (x.dtype === y.dtype && a.every((byte, i) => byte === b[i])) identical++;
      if (x.shape.length < 2) continue;
      const sums = distance(a, x, b, y);
      delta += sums.delta;
      size += sums.size;
      count += sums.count;
      const relative = sums.delta / sums.size;
      if (sums.size > 0 && (farthest === null || relative > farthest.relative)) farthest = { tensor: name, relative };
    }
  } finally {
    for (const reader of readers) await reader.close();
  }
  const meanDelta = count > 0 ? delta / count : null;
  return { model, sampled, identical, meanDelta, relative: size > 0 ? delta / size : null, farthest, bytesRead };
}

/** A tensor as the file has it, if the model takes it so. */
function plain({ tensors, overrides }: InputModel, name: string): Override | undefined {
  const info: Override | undefined = overrides.get(name) ?? tensors.get(name);
  return info?.view || !info || !decoders[info.dtype] ? undefined : info;
}

function chosen(one: InputModel, from: InputModel): string[] {
  const names = [...tensorNames(one)].filter((name) => {
    const [x, y] = [plain(one, name), plain(from, name)];
    return x && y && x.count > 0 && String(x.shape) === String(y.shape);
  });
  if (names.length <= maxSampled) return names;
  return Array.from({ length: maxSampled }, (_, i) => names[Math.floor((i * names.length) / maxSampled)]!);
}

function distance(
  a: Uint8Array,
  x: Override,
  b: Uint8Array,
  y: Override,
): { delta: number; size: number; count: number } {
  const [left, right] = [decoders[x.dtype]!, decoders[y.dtype]!];
  const [p, q] = [viewOf(a), viewOf(b)];
  let [delta, size, count] = [0, 0, 0];
  for (let i = 0; i < a.length / byteWidth(x.dtype); i++) {
    const [value, before] = [left(p, i), right(q, i)];
    if (!Number.isFinite(value) || !Number.isFinite(before)) continue;
    delta += Math.abs(value - before);
    size += Math.abs(before);
    count++;
  }
  return { delta, size, count };
}

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

class Reader {
  readonly #model: InputModel;
  readonly #host: Host;
  readonly #open = new Map<number, ByteSource>();

  constructor(model: InputModel, host: Host) {
    this.#model = model;
    this.#host = host;
  }

  /** The pieces one after the other; they are the same elements whatever the dtype. */
  async sample({ file, start, dtype, count }: Override): Promise<Uint8Array> {
    const width = byteWidth(dtype);
    const whole = count <= pieces * pieceElements;
    const starts = whole
      ? [0]
      : Array.from({ length: pieces }, (_, i) => Math.floor((i * (count - pieceElements)) / (pieces - 1)));
    const each = whole ? count : pieceElements;
    const bytes = new Uint8Array(starts.length * each * width);
    const source = await this.#source(file);
    for (const [i, first] of starts.entries()) {
      await source.read(start + first * width, bytes.subarray(i * each * width, (i + 1) * each * width));
    }
    return bytes;
  }

  async #source(file: number): Promise<ByteSource> {
    const open = this.#open.get(file);
    if (open) return open;
    const { folder, file: name } = this.#host.fs.split(this.#model.files[file]!.location);
    const source = await this.#host.fs.folder(folder).open(name);
    this.#open.set(file, source);
    return source;
  }

  async close(): Promise<void> {
    for (const source of this.#open.values()) await source.close();
  }
}

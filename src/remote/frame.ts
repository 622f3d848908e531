// A frame: a JSON descriptor and, behind it, the bytes of its typed arrays as they are in memory.
//
//   offset  bytes
//   0       4      "BRD1"
//   4       4      n, length of the descriptor (u32, little-endian)
//   8       n      the descriptor, UTF-8
//   …              zeros up to a multiple of 8; from here on `at` counts
//   …              arrays, each at a multiple of 8
//
// In the descriptor an array is {"$array": dtype, "at": bytes, "length": elements}. JSON has no −0, NaN and infinities; they are
// {"$number": "-0"} and so on. All other numbers come back bit for bit: both engines print the shortest text that does.

import { fail } from "../errors.ts";

const magic = 0x31445242;
const alignment = 8;
const align = (n: number) => Math.ceil(n / alignment) * alignment;
/** Of JSON that a stranger wrote. */
const maxDepth = 32;

const arrays = { u8: Uint8Array, u32: Uint32Array, f32: Float32Array, f64: Float64Array } as const;
type ArrayName = keyof typeof arrays;
type AnyArray = Uint8Array | Uint32Array | Float32Array | Float64Array;

/** Stands for bytes that are filled in after the frame was laid out, so that they are read straight to their place. */
export class Blank {
  readonly byteLength: number;
  constructor(byteLength: number) {
    this.byteLength = byteLength;
  }
}

const isArray = (value: object): value is AnyArray => ArrayBuffer.isView(value);

function nameOf(array: AnyArray): ArrayName {
  for (const name of Object.keys(arrays) as ArrayName[]) if (array instanceof arrays[name]) return name;
  throw new TypeError(`a frame carries no ${array.constructor.name}`);
}

export interface Frame {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The places of the blanks, in their order. */
  readonly blanks: readonly Uint8Array<ArrayBuffer>[];
  readonly descriptorBytes: number;
}

/** Lays out a value of plain data, typed arrays and blanks. */
export function encodeFrame(value: unknown): Frame {
  const parts: { readonly part: AnyArray | Blank; readonly at: number }[] = [];
  let end = 0;
  const place = (part: AnyArray | Blank, name: ArrayName) => {
    const at = end;
    parts.push({ part, at });
    end = align(at + part.byteLength);
    return { $array: name, at, length: part.byteLength / arrays[name].BYTES_PER_ELEMENT };
  };
  const pack = (v: unknown): unknown => {
    if (typeof v === "number") {
      return Number.isFinite(v) && !Object.is(v, -0) ? v : { $number: Object.is(v, -0) ? "-0" : String(v) };
    }
    if (typeof v !== "object" || v === null) return v;
    if (v instanceof Blank) return place(v, "u8");
    if (isArray(v)) return place(v, nameOf(v));
    if (Array.isArray(v)) return v.map(pack);
    return Object.fromEntries(Object.entries(v).map(([key, item]) => [key, pack(item)]));
  };
  const descriptor = new TextEncoder().encode(JSON.stringify(pack(value)));
  const base = align(8 + descriptor.length);
  const bytes = new Uint8Array(base + end);
  const header = new DataView(bytes.buffer);
  header.setUint32(0, magic, true);
  header.setUint32(4, descriptor.length, true);
  bytes.set(descriptor, 8);
  const blanks: Uint8Array<ArrayBuffer>[] = [];
  for (const { part, at } of parts) {
    const target = bytes.subarray(base + at, base + at + part.byteLength);
    if (part instanceof Blank) blanks.push(target);
    else target.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
  }
  return { bytes, blanks, descriptorBytes: descriptor.length };
}

function damaged(what: string): never {
  fail("node-answer", `Cannot read a frame: ${what}`);
}

/**
 * What a frame says. Arrays of bytes are views of `bytes`, others are copies.
 *
 * @throws BraidError `node-answer` when it is damaged or its descriptor is longer than the limit.
 */
export function decodeFrame(bytes: Uint8Array<ArrayBuffer>, descriptorLimit: number): unknown {
  if (bytes.length < 8) damaged(`it has ${bytes.length} bytes`);
  const header = new DataView(bytes.buffer, bytes.byteOffset, 8);
  if (header.getUint32(0, true) !== magic) damaged("it does not begin with BRD1");
  const length = header.getUint32(4, true);
  if (length > descriptorLimit) damaged(`its descriptor has ${length} bytes, the limit is ${descriptorLimit}`);
  if (8 + length > bytes.length) damaged(`its descriptor has ${length} bytes, the frame ${bytes.length}`);
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8, 8 + length)));
  } catch (e) {
    damaged(`its descriptor is not JSON: ${(e as Error).message}`);
  }
  const data = bytes.subarray(align(8 + length));
  const array = ({ $array: name, at, length: count }: { $array: unknown; at?: unknown; length?: unknown }) => {
    if (typeof name !== "string" || !Object.hasOwn(arrays, name)) damaged("it names an array type that is not known");
    const type = arrays[name as ArrayName];
    const size = type.BYTES_PER_ELEMENT;
    const fits =
      Number.isSafeInteger(at) && Number.isSafeInteger(count) && (at as number) >= 0 && (count as number) >= 0;
    if (!fits || (at as number) + (count as number) * size > data.length) damaged("an array lies outside of it");
    const view = data.subarray(at as number, (at as number) + (count as number) * size);
    return type === Uint8Array ? view : new type(view.slice().buffer);
  };
  const unpack = (v: unknown, depth: number): unknown => {
    if (typeof v !== "object" || v === null) return v;
    if (depth > maxDepth) damaged(`its descriptor is nested deeper than ${maxDepth}`);
    if (Array.isArray(v)) return v.map((item) => unpack(item, depth + 1));
    if (Object.hasOwn(v, "$array")) return array(v as { $array: unknown });
    if (Object.hasOwn(v, "$number")) {
      const { $number: text } = v as { $number: unknown };
      if (text === "-0") return -0;
      if (text === "NaN" || text === "Infinity" || text === "-Infinity") return Number(text);
      damaged("it has a number that is none");
    }
    return Object.fromEntries(Object.entries(v).map(([key, item]) => [key, unpack(item, depth + 1)]));
  };
  return unpack(parsed, 0);
}

// The header of a safetensors file: 8 bytes of length N, N bytes of JSON. Accepts a strict subset of what the reference
// (safetensors 0.8) accepts; the numbers below are its rules, in its order.

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import type { ByteSource } from "../bytes/source.ts";
import { fail, quote } from "../errors.ts";
import { type Dtype, dtypeBits, isDtype } from "./dtype.ts";
import { compareNames, nameFault } from "./names.ts";
import {
  createScanner,
  peek,
  readArray,
  readInteger,
  readObject,
  readPlain,
  readString,
  type Scanner,
  skipValue,
} from "./tokens.ts";

/** The reference's limit, for reading and writing. */
export const hardMaxHeaderBytes = 100_000_000;
/** Read unless told otherwise; the largest header on the hub is about 7 MB. */
export const defaultMaxHeaderBytes = 25_000_000;
export const maxRank = 16;

export interface TensorEntry {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Bytes [start, end) of the file. */
  readonly start: number;
  readonly end: number;
}

export interface Header {
  /** In the order of their bytes in the file. */
  readonly tensors: Map<string, TensorEntry>;
  readonly metadata: Map<string, string>;
  /** N + 8: where the data starts. */
  readonly dataStart: number;
  /** N. */
  readonly headerBytes: number;
  /** Of the 8 + N bytes, in hex. */
  readonly sha256: string;
}

/** Files that are taken for safetensors but are not, by their first eight bytes. */
const lookalikes = [
  { start: "version ", means: "it is a Git LFS pointer, not the file itself", hint: "Fetch the file: git lfs pull" },
  {
    start: "PK\u0003\u0004",
    means: "it is a zip archive, as PyTorch's pickles are",
    hint: "Convert the checkpoint to safetensors first.",
  },
  { start: "\u0080\u0002", means: "it is a pickle", hint: "Convert the checkpoint to safetensors first." },
  { start: "GGUF", means: "it is a GGUF file", hint: "Merge the safetensors checkpoint it was made from." },
  { start: "<", means: "it is a web page", hint: "Download the file again." },
] as const;

/** Number of elements, or null when it is above 2^53 − 1. Zeros are left out of the product when `ignoreZeros`. */
export function elementCount(shape: readonly number[], ignoreZeros = false): number | null {
  let count = 1;
  for (const d of shape) {
    if (ignoreZeros && d === 0) continue;
    if (d !== 0 && count > Number.MAX_SAFE_INTEGER / d) return null;
    count *= d;
  }
  return count;
}

/** Reads and checks the header of `source`. Everything wrong is a `safetensors-header` error that names the file. */
export async function parseHeader(
  source: ByteSource,
  options: { maxHeaderBytes?: number | undefined } = {},
): Promise<Header> {
  const limit = Math.min(options.maxHeaderBytes ?? defaultMaxHeaderBytes, hardMaxHeaderBytes);
  const refuse = (what: string, hint?: string): never =>
    fail(
      "safetensors-header",
      `Cannot read header of ${quote(source.name, 4096)}: ${what}`,
      hint === undefined ? {} : { hint },
    );

  // Rules 1 to 3. Nothing is allocated by a declared size before it is compared with the real one.
  if (source.byteLength < 8) refuse(`the file has ${source.byteLength} bytes, the least is 8`);
  const prefix = new Uint8Array(8);
  await source.read(0, prefix);
  const declared = new DataView(prefix.buffer).getBigUint64(0, true);
  if (declared > BigInt(limit)) {
    const start = String.fromCharCode(...prefix);
    for (const l of lookalikes) if (start.startsWith(l.start)) refuse(l.means, l.hint);
    const raise = declared <= hardMaxHeaderBytes ? `If you trust the file: --max-header ${declared}` : undefined;
    refuse(`length is ${declared}, the limit is ${limit}`, raise);
  }
  const headerBytes = Number(declared);
  const dataStart = headerBytes + 8;
  if (dataStart > source.byteLength) {
    refuse(`length is ${headerBytes}, the limit is ${source.byteLength - 8}, what is left of the file`);
  }
  const bytes = new Uint8Array(dataStart);
  bytes.set(prefix);
  await source.read(8, bytes.subarray(8));

  // Rule 4. A byte order mark must stay visible to be refused.
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes.subarray(8));
  } catch {
    refuse("it is not UTF-8");
  }
  const { entries, metadata } = readJson(text!, dataStart, refuse);
  checkLayout(entries, dataStart, source.byteLength, refuse);
  const tensors = new Map<string, TensorEntry>();
  for (const entry of entries) tensors.set(entry.name, entry);
  return {
    tensors,
    metadata,
    dataStart,
    headerBytes,
    sha256: bytesToHex(sha256(bytes)),
  };
}

type Refuse = (what: string) => never;

/** Rule 5. */
function readJson(
  text: string,
  dataStart: number,
  refuse: Refuse,
): { entries: TensorEntry[]; metadata: Map<string, string> } {
  if (text.charCodeAt(0) !== 0x7b) refuse("it does not start with '{'");
  let tensor: string | null = null;
  const s = createScanner(text, (what, at) =>
    refuse(`${tensor === null ? "" : `tensor ${quote(tensor)}: `}${what} (character ${at + 1} of the header)`),
  );
  const entries: TensorEntry[] = [];
  let metadata = new Map<string, string>();
  readObject(s, (name) => {
    if (name === "__metadata__") {
      metadata = readMetadata(s);
      return;
    }
    tensor = name;
    const wrong = nameFault(name);
    if (wrong !== null) s.fault(wrong);
    entries.push(readTensor(s, name, dataStart));
    tensor = null;
  });
  for (; s.at < text.length; s.at++) {
    if (text.charCodeAt(s.at) !== 0x20) s.fault("something other than spaces follows the JSON text");
  }
  return { entries, metadata };
}

function readMetadata(s: Scanner): Map<string, string> {
  const metadata = new Map<string, string>();
  if (peek(s) === 0x6e) {
    readPlain(s);
    return metadata;
  }
  readObject(
    s,
    (name) => metadata.set(name, readString(s, "a string, as all of __metadata__")),
    "__metadata__ to be an object",
  );
  return metadata;
}

function readTensor(s: Scanner, name: string, dataStart: number): TensorEntry {
  let dtype: Dtype | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  readObject(
    s,
    (field) => {
      if (field === "dtype") {
        const found = readString(s, "dtype to be a string");
        if (!isDtype(found)) s.fault(`dtype is ${quote(found)}, allowed are ${Object.keys(dtypeBits).join(", ")}`);
        dtype = found as Dtype;
      } else if (field === "shape") {
        shape = readIntegers(s, "shape", maxRank);
      } else if (field === "data_offsets") {
        offsets = readIntegers(s, "data_offsets", 2);
      } else {
        skipValue(s);
      }
    },
    "an object with dtype, shape and data_offsets",
  );
  if (dtype === undefined) return s.fault("dtype is missing");
  if (shape === undefined) return s.fault("shape is missing");
  if (offsets === undefined) return s.fault("data_offsets is missing");
  if (offsets.length !== 2) s.fault(`data_offsets has ${offsets.length} numbers, expected 2`);
  return { name, dtype, shape, start: dataStart + offsets[0]!, end: dataStart + offsets[1]! };
}

function readIntegers(s: Scanner, what: string, limit: number): number[] {
  const list: number[] = [];
  readArray(
    s,
    (index) => {
      if (index === limit) s.fault(`${what} has more than ${limit} numbers, the limit`);
      list.push(readInteger(s, `a whole number in ${what}`));
    },
    `${what} to be an array`,
  );
  return list;
}

/** Rules 6 to 10. Sorts the tensors by their place. */
function checkLayout(tensors: TensorEntry[], dataStart: number, byteLength: number, refuse: Refuse): void {
  tensors.sort((a, b) => a.start - b.start || a.end - b.end || compareNames(a.name, b.name));
  let previous = dataStart;
  for (const tensor of tensors) {
    const wrong = placeFault(tensor, previous - dataStart, dataStart) ?? sizeFault(tensor);
    if (wrong !== null) refuse(`tensor ${quote(tensor.name)} ${wrong}`);
    previous = tensor.end;
  }
  if (previous === byteLength) return;
  refuse(
    `tensors end at byte ${previous - dataStart} of the data, expected ${byteLength - dataStart}, where the file ends`,
  );
}

function placeFault({ start, end }: TensorEntry, expected: number, dataStart: number): string | null {
  if (start - dataStart !== expected) {
    return `starts at byte ${start - dataStart} of the data, expected ${expected}, where the one before it ends`;
  }
  return end < start ? `ends at byte ${end - dataStart} of the data, before its start ${expected}` : null;
}

function sizeFault({ dtype, shape, start, end }: TensorEntry): string | null {
  const nonZero = elementCount(shape, true);
  if (nonZero === null || nonZero > Number.MAX_SAFE_INTEGER / dtypeBits[dtype]) {
    return `has the shape [${shape}] of ${dtype}, which is above the limit of ${Number.MAX_SAFE_INTEGER} bits`;
  }
  const bits = elementCount(shape)! * dtypeBits[dtype];
  if (bits % 8 !== 0) return `has ${bits} bits, which do not fill whole bytes`;
  if (end - start === bits / 8) return null;
  return `has ${end - start} bytes in data_offsets, expected ${bits / 8} for the shape [${shape}] of ${dtype}`;
}

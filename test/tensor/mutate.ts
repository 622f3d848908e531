// Makes bad safetensors files out of good and bad ones. Seeded: mutant i of a seed is the same everywhere.

import { rawFile, utf8 } from "./fixture.ts";

/** xorshift32: numbers in [0, below). */
export function createRandom(seed: number): (below: number) => number {
  let state = seed | 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** What header text is made of, and what it should not be made of. */
const pieces = [
  '"',
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  " ",
  "\t",
  "\n",
  "\\",
  "\\u0061",
  "\\u0000",
  "\\ud800",
  "\\udc00",
  "\\ud83d\\ude00",
  "\\x",
  "0",
  "1",
  "2",
  "4",
  "8",
  "00",
  "-",
  "-0",
  ".0",
  "1.0",
  "e0",
  "1e999",
  "1E-5",
  "9007199254740991",
  "9007199254740992",
  "18446744073709551615",
  "18446744073709551616",
  "4294967296",
  "true",
  "false",
  "null",
  "NaN",
  "Infinity",
  '"F32"',
  '"BF16"',
  '"F4"',
  '"f32"',
  '"dtype"',
  '"shape"',
  '"data_offsets"',
  '"__metadata__"',
  '"__proto__"',
  '"a"',
  '"b"',
  '"x":1,',
  '"x":{"y":[]},',
  '"shape":[],',
  '"dtype":"F32",',
  '"data_offsets":[0,0],',
  '"__metadata__":{},',
  '"__metadata__":{"a":"b"},',
  '"__metadata__":null,',
  '"e":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},',
  '"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},',
  "[[",
  "]]",
  "\u0000",
  "\u0001",
  "\u007f",
  "\u00e9",
  "\u202e",
  "\u2066",
  "\ufeff",
  "\u{1f600}",
  "/*",
  "//",
] as const;

type Random = (below: number) => number;

function mutateText(text: string, random: Random): string {
  const at = random(text.length + 1);
  const piece = pieces[random(pieces.length)]!;
  const length = 1 + random(random(4) === 0 ? 40 : 3);
  switch (random(8)) {
    case 0:
    case 1:
      return text.slice(0, at) + piece + text.slice(at);
    case 2:
      return text.slice(0, at) + piece + text.slice(at + length);
    case 3:
      return text.slice(0, at) + text.slice(at + length);
    case 4: {
      // A copy of one part somewhere else: makes duplicates.
      const to = random(text.length + 1);
      return text.slice(0, to) + text.slice(at, at + length * 8) + text.slice(to);
    }
    case 5: {
      // Another number in the place of one that is there.
      const numbers = [...text.matchAll(/\d+/g)];
      const chosen = numbers[random(numbers.length || 1)];
      if (!chosen) return text;
      const value = [Number(chosen[0]) + 1, Number(chosen[0]) * 2, 0, 3, 2 ** 31, 2 ** 53][random(6)]!;
      return text.slice(0, chosen.index) + value + text.slice(chosen.index + chosen[0].length);
    }
    case 6: {
      // After a brace or comma, where members start.
      const places = [...text.matchAll(/[{,]/g)];
      const place = places[random(places.length || 1)];
      return place ? text.slice(0, place.index + 1) + piece + text.slice(place.index + 1) : piece + text;
    }
    default:
      return text + piece;
  }
}

function flipByte(bytes: Uint8Array<ArrayBuffer>, random: Random): Uint8Array<ArrayBuffer> {
  const copy = bytes.slice();
  if (copy.length > 0) copy[random(Math.min(copy.length, 400))]! ^= 1 << random(8);
  return copy;
}

/** One mutant: most keep a right length in front, so that what is behind it is read. */
export function mutate(seeds: readonly Uint8Array<ArrayBuffer>[], random: Random): Uint8Array<ArrayBuffer> {
  const seed = seeds[random(seeds.length)]!;
  if (seed.length < 8 || random(10) === 0) return flipByte(seed, random);
  const declared = Number(new DataView(seed.buffer, seed.byteOffset).getBigUint64(0, true));
  const end = Math.min(8 + declared, seed.length);
  let text = new TextDecoder().decode(seed.subarray(8, end));
  for (let n = random(3) === 0 ? 2 : 1; n > 0; n--) text = mutateText(text, random);
  const data = Math.max(0, seed.length - end + (random(8) === 0 ? random(9) - 4 : 0));
  const header = utf8(text);
  const file = rawFile(header, data, random(30) === 0 ? BigInt(random(header.length + 20)) : undefined);
  return random(20) === 0 ? flipByte(file, random) : file;
}

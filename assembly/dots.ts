// Dot products straight from bf16, all pairs of several vectors or of their deltas to a base, with the bits of `dot` on decoded
// tiles: the same eight sums in f64, lane j for the elements with index mod 8 = j.
//
// Even and odd elements take a pass each, because one operation decodes either (see pairs.ts), and the sums of three products
// then stay in registers:
//
//   even pass | s0 s2 | s4 s6 |     odd pass | s1 s3 | s5 s7 |
//   (s0 s2) + (s4 s6) = | s0+s4  s2+s6 |, whose lanes are added; then the even half and the odd half.

import { evens, No, odds, unitUpper, upperHalves, Yes } from "./pairs";

/** Sums of up to three products: | s0 s2 | s4 s6 | s1 s3 | s5 s7 | each. */
const sums: usize = memory.data(3 * 64, 16);
/** The ragged end of two vectors and the base, padded with zeros, which add +0. */
const tail: usize = memory.data(3 * 16, 16);

@inline
function decoded<Odd>(four: v128, constant: v128): v128 {
  return isFloat<Odd>() ? odds(four, constant) : evens(four, constant);
}

/** Two elements of four, as f64; `base` is decoded. */
@inline
function wide<Odd, Based>(four: v128, base: v128, constant: v128): v128 {
  const x = decoded<Odd>(four, constant);
  return f64x2.promote_low_f32x4(isFloat<Based>() ? f32x4.sub(x, base) : x);
}

/** Adds a·a, a·b and b·b (or a·b alone, unless `All`) of `byteLength` bytes, a multiple of 16, to the sums. */
function add<Odd, Based, All>(a: usize, b: usize, base: usize, byteLength: usize): void {
  const constant = isFloat<Odd>() ? upperHalves() : unitUpper();
  const at = sums + (isFloat<Odd>() ? 32 : 0);
  let ab0 = v128.load(at);
  let ab1 = v128.load(at, 16);
  let aa0 = v128.load(at, 64);
  let aa1 = v128.load(at, 80);
  let bb0 = v128.load(at, 128);
  let bb1 = v128.load(at, 144);
  for (let i: usize = 0; i < byteLength; i += 16) {
    const base0 = isFloat<Based>() ? decoded<Odd>(v128.load64_zero(base + i), constant) : constant;
    const a0 = wide<Odd, Based>(v128.load64_zero(a + i), base0, constant);
    const b0 = wide<Odd, Based>(v128.load64_zero(b + i), base0, constant);
    ab0 = f64x2.add(ab0, f64x2.mul(a0, b0));
    if (isFloat<All>()) aa0 = f64x2.add(aa0, f64x2.mul(a0, a0));
    if (isFloat<All>()) bb0 = f64x2.add(bb0, f64x2.mul(b0, b0));
    const base1 = isFloat<Based>() ? decoded<Odd>(v128.load64_zero(base + i, 8), constant) : constant;
    const a1 = wide<Odd, Based>(v128.load64_zero(a + i, 8), base1, constant);
    const b1 = wide<Odd, Based>(v128.load64_zero(b + i, 8), base1, constant);
    ab1 = f64x2.add(ab1, f64x2.mul(a1, b1));
    if (isFloat<All>()) aa1 = f64x2.add(aa1, f64x2.mul(a1, a1));
    if (isFloat<All>()) bb1 = f64x2.add(bb1, f64x2.mul(b1, b1));
  }
  v128.store(at, ab0);
  v128.store(at, ab1, 16);
  v128.store(at, aa0, 64);
  v128.store(at, aa1, 80);
  v128.store(at, bb0, 128);
  v128.store(at, bb1, 144);
}

function fold(at: usize): f64 {
  const even = f64x2.add(v128.load(at), v128.load(at, 16));
  const odd = f64x2.add(v128.load(at, 32), v128.load(at, 48));
  const sum = f64x2.extract_lane(even, 0) + f64x2.extract_lane(even, 1);
  return sum + (f64x2.extract_lane(odd, 0) + f64x2.extract_lane(odd, 1));
}

/** Leaves the products of two vectors in the sums. */
function multiply<Based, All>(a: usize, b: usize, base: usize, count: usize): void {
  memory.fill(sums, 0, 3 * 64);
  const byteLength = count << 1;
  const whole = byteLength & ~15;
  add<No, Based, All>(a, b, base, whole);
  add<Yes, Based, All>(a, b, base, whole);
  if (whole == byteLength) return;
  const rest = byteLength - whole;
  memory.fill(tail, 0, 48);
  memory.copy(tail, a + whole, rest);
  memory.copy(tail + 16, b + whole, rest);
  if (isFloat<Based>()) memory.copy(tail + 32, base + whole, rest);
  add<No, Based, All>(tail, tail + 16, tail + 32, 16);
  add<Yes, Based, All>(tail, tail + 16, tail + 32, 16);
}

// Three vectors take all six products at once: a pass for each quarter of the eight sums, so that they stay in registers.

/** | s0 s2 | s4 s6 | s1 s3 | s5 s7 | of a·a, a·b, a·c, b·b, b·c and c·c, as they stand in the upper triangle. */
const triple: usize = memory.data(6 * 64, 16);
/** The ragged end of three vectors and the base. */
const tripleTail: usize = memory.data(4 * 16, 16);
/** Bytes of a vector that are taken through all four passes before the next, so that they come from the first cache. */
const tripleStep: usize = 2048;

/** Adds the products of `byteLength` bytes to the sums at `at` of each. Pointers lead to the half of eight elements that counts. */
function addTriple<Odd, Based>(a: usize, b: usize, c: usize, base: usize, byteLength: usize, at: usize): void {
  const constant = isFloat<Odd>() ? upperHalves() : unitUpper();
  let aa = v128.load(at);
  let ab = v128.load(at, 64);
  let ac = v128.load(at, 128);
  let bb = v128.load(at, 192);
  let bc = v128.load(at, 256);
  let cc = v128.load(at, 320);
  for (let i: usize = 0; i < byteLength; i += 16) {
    const from = isFloat<Based>() ? decoded<Odd>(v128.load64_zero(base + i), constant) : constant;
    const x = wide<Odd, Based>(v128.load64_zero(a + i), from, constant);
    const y = wide<Odd, Based>(v128.load64_zero(b + i), from, constant);
    const z = wide<Odd, Based>(v128.load64_zero(c + i), from, constant);
    aa = f64x2.add(aa, f64x2.mul(x, x));
    ab = f64x2.add(ab, f64x2.mul(x, y));
    ac = f64x2.add(ac, f64x2.mul(x, z));
    bb = f64x2.add(bb, f64x2.mul(y, y));
    bc = f64x2.add(bc, f64x2.mul(y, z));
    cc = f64x2.add(cc, f64x2.mul(z, z));
  }
  v128.store(at, aa);
  v128.store(at, ab, 64);
  v128.store(at, ac, 128);
  v128.store(at, bb, 192);
  v128.store(at, bc, 256);
  v128.store(at, cc, 320);
}

function addQuarters<Based>(a: usize, b: usize, c: usize, base: usize, byteLength: usize): void {
  addTriple<No, Based>(a, b, c, base, byteLength, triple);
  addTriple<No, Based>(a + 8, b + 8, c + 8, base + 8, byteLength, triple + 16);
  addTriple<Yes, Based>(a, b, c, base, byteLength, triple + 32);
  addTriple<Yes, Based>(a + 8, b + 8, c + 8, base + 8, byteLength, triple + 48);
}

function multiplyTriple<Based>(out: usize, inputs: usize, base: usize, count: usize): void {
  memory.fill(triple, 0, 6 * 64);
  const a = <usize>load<u32>(inputs);
  const b = <usize>load<u32>(inputs, 4);
  const c = <usize>load<u32>(inputs, 8);
  const byteLength = count << 1;
  const whole = byteLength & ~15;
  for (let at: usize = 0; at < whole; at += tripleStep) {
    addQuarters<Based>(a + at, b + at, c + at, base + at, min(tripleStep, whole - at));
  }
  const rest = byteLength - whole;
  if (rest > 0) {
    memory.fill(tripleTail, 0, 64);
    memory.copy(tripleTail, a + whole, rest);
    memory.copy(tripleTail + 16, b + whole, rest);
    memory.copy(tripleTail + 32, c + whole, rest);
    if (isFloat<Based>()) memory.copy(tripleTail + 48, base + whole, rest);
    addQuarters<Based>(tripleTail, tripleTail + 16, tripleTail + 32, tripleTail + 48, 16);
  }
  for (let pair: usize = 0; pair < 6; pair++) store<f64>(out + (pair << 3), fold(triple + (pair << 6)));
}

/** Where the product of vectors i ≤ j stands in the upper triangle, row by row. */
function place(i: usize, j: usize, vectors: usize): usize {
  return (i * vectors - ((i * (i + 1)) >> 1) + j) << 3;
}

function products<Based>(out: usize, inputs: usize, base: usize, vectors: usize, count: usize): void {
  for (let i: usize = 0; i < vectors; i++) {
    const a = <usize>load<u32>(inputs + (i << 2));
    for (let j = i + 1; j < vectors; j++) {
      const b = <usize>load<u32>(inputs + (j << 2));
      // Vectors 0 and 1, 2 and 3, … bring their squares along; the last of an odd number comes alone.
      if ((i & 1) == 0 && j == i + 1) {
        multiply<Based, Yes>(a, b, base, count);
        store<f64>(out + place(i, i, vectors), fold(sums + 64));
        store<f64>(out + place(j, j, vectors), fold(sums + 128));
      } else {
        multiply<Based, No>(a, b, base, count);
      }
      store<f64>(out + place(i, j, vectors), fold(sums));
    }
    if ((i & 1) == 0 && i + 1 == vectors) {
      multiply<Based, No>(a, a, base, count);
      store<f64>(out + place(i, i, vectors), fold(sums));
    }
  }
}

export function dots_bf16(out: usize, inputs: usize, base: usize, vectors: usize, count: usize): void {
  if (vectors == 3) {
    if (base) multiplyTriple<Yes>(out, inputs, base, count);
    else multiplyTriple<No>(out, inputs, 0, count);
  } else if (base) products<Yes>(out, inputs, base, vectors, count);
  else products<No>(out, inputs, 0, vectors, count);
}

/** Elements of a block. */
const blockElements: usize = 4096;
const blockInputs: usize = memory.data(64 * 4, 16);

/** Whether the square of each vector is finite, so that all its elements are. */
function finiteSquares(out: usize, vectors: usize): bool {
  let total: f64 = 0;
  for (let i: usize = 0; i < vectors; i++) total += abs<f64>(load<f64>(out + place(i, i, vectors)));
  return total < Infinity;
}

export function survey_dots_bf16(out: usize, inputs: usize, base: usize, vectors: usize, count: usize): usize {
  if (vectors > 64) unreachable();
  const row = (vectors * (vectors + 1)) << 2;
  let done: usize = 0;
  while (done < count) {
    const elements = min(blockElements, count - done);
    for (let i: usize = 0; i < vectors; i++) {
      store<u32>(blockInputs + (i << 2), load<u32>(inputs + (i << 2)) + <u32>(done << 1));
    }
    dots_bf16(out, blockInputs, base ? base + (done << 1) : 0, vectors, elements);
    if (!finiteSquares(out, vectors)) break;
    out += row;
    done += elements;
  }
  return done;
}

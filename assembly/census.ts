// Everything that an analysis wants to know of the deltas of several models at once: sums, counts, histograms of their bits. A
// block of 4,096 elements is taken in chunks, whose deltas lie in the first cache as f32 and are gone through once for each
// statistic: all of them in one loop would need more registers than there are.

import { loadPart } from "./lanes";
import { evens, larger, magnitudeBits, No, odds, unitUpper, upperHalves, Yes } from "./pairs";

/** Elements of a block, and of a chunk: with three models a chunk and its base take 8 KiB. */
const blockElements: usize = 4096;
const chunkElements: usize = 512;
const chunkBytes: usize = 2048;

/** What a census is told, and where it leaves its results: seven words. See index.ts. */
@unmanaged
class Census {
  models: u32;
  /** f64, moved on by a row for each block. */
  out: u32;
  counts: u32;
  bins: u32;
  patterns: u32;
  tops: u32;
  /** Eight f64 for each sum of a row, then the chunk of the base and those of the models. */
  scratch: u32;
}

/** Sums of a row: Σ|b|, Σb², Σ|Σδ|, then Σ|δ| of each model, then Σδδ of each pair. */
function sumsOf(models: usize): usize {
  return 3 + models + ((models * (models + 1)) >> 1);
}

function tilesOf(c: Census): usize {
  return <usize>c.scratch + (sumsOf(c.models) << 6);
}

@inline
function times(sum: v128, p: usize, q: usize): v128 {
  return f64x2.add(
    sum,
    f64x2.mul(f64x2.promote_low_f32x4(v128.load64_zero(p)), f64x2.promote_low_f32x4(v128.load64_zero(q))),
  );
}

// Lane j of eight sums the elements with index mod 8 = j, as in tally.ts; lanes wait in memory from chunk to chunk.

/** Adds |x| of a chunk to the lanes at `magnitudes`, and x² to those at `squares`. */
function addOwn(magnitudes: usize, squares: usize, x: usize, byteLength: usize): void {
  for (let quarter: usize = 0; quarter < 64; quarter += 16) {
    const magnitude = v128.load64_splat(wideMagnitude);
    let sum = v128.load(magnitudes + quarter);
    let square = v128.load(squares + quarter);
    let p = x + (quarter >> 1);
    for (const end = p + byteLength; p < end; p += 32) {
      const v = f64x2.promote_low_f32x4(v128.load64_zero(p));
      sum = f64x2.add(sum, v128.and(v, magnitude));
      square = f64x2.add(square, f64x2.mul(v, v));
    }
    v128.store(magnitudes + quarter, sum);
    v128.store(squares + quarter, square);
  }
}

/** All sums of three models at once, with their nine lanes in registers: at `at` Σ|δ|, behind it the products. */
function addTriple(at: usize, x: usize, byteLength: usize): void {
  for (let quarter: usize = 0; quarter < 64; quarter += 16, at += 16) {
    const magnitude = v128.load64_splat(wideMagnitude);
    let sumA = v128.load(at);
    let sumB = v128.load(at, 64);
    let sumC = v128.load(at, 128);
    let aa = v128.load(at, 192);
    let ab = v128.load(at, 256);
    let ac = v128.load(at, 320);
    let bb = v128.load(at, 384);
    let bc = v128.load(at, 448);
    let cc = v128.load(at, 512);
    let p = x + (quarter >> 1);
    for (const end = p + byteLength; p < end; p += 32) {
      const a = f64x2.promote_low_f32x4(v128.load64_zero(p));
      const b = f64x2.promote_low_f32x4(v128.load64_zero(p, 2048));
      const c = f64x2.promote_low_f32x4(v128.load64_zero(p, 4096));
      sumA = f64x2.add(sumA, v128.and(a, magnitude));
      sumB = f64x2.add(sumB, v128.and(b, magnitude));
      sumC = f64x2.add(sumC, v128.and(c, magnitude));
      aa = f64x2.add(aa, f64x2.mul(a, a));
      ab = f64x2.add(ab, f64x2.mul(a, b));
      ac = f64x2.add(ac, f64x2.mul(a, c));
      bb = f64x2.add(bb, f64x2.mul(b, b));
      bc = f64x2.add(bc, f64x2.mul(b, c));
      cc = f64x2.add(cc, f64x2.mul(c, c));
    }
    v128.store(at, sumA);
    v128.store(at, sumB, 64);
    v128.store(at, sumC, 128);
    v128.store(at, aa, 192);
    v128.store(at, ab, 256);
    v128.store(at, ac, 320);
    v128.store(at, bb, 384);
    v128.store(at, bc, 448);
    v128.store(at, cc, 512);
  }
}

function addProducts(at: usize, x: usize, y: usize, byteLength: usize): void {
  let s01 = v128.load(at);
  let s23 = v128.load(at, 16);
  let s45 = v128.load(at, 32);
  let s67 = v128.load(at, 48);
  for (const end = x + byteLength; x < end; x += 32, y += 32) {
    s01 = times(s01, x, y);
    s23 = times(s23, x + 8, y + 8);
    s45 = times(s45, x + 16, y + 16);
    s67 = times(s67, x + 24, y + 24);
  }
  v128.store(at, s01);
  v128.store(at, s23, 16);
  v128.store(at, s45, 32);
  v128.store(at, s67, 48);
}

function fold(at: usize): f64 {
  const even = f64x2.add(v128.load(at), v128.load(at, 32));
  const odd = f64x2.add(v128.load(at, 16), v128.load(at, 48));
  const sum = f64x2.add(even, odd);
  return f64x2.extract_lane(sum, 0) + f64x2.extract_lane(sum, 1);
}

function sumLanes(v: v128): i32 {
  const total = i32x4.extract_lane(v, 0) + i32x4.extract_lane(v, 1);
  return total + i32x4.extract_lane(v, 2) + i32x4.extract_lane(v, 3);
}

function bump(at: usize, by: i32): void {
  store<i32>(at, load<i32>(at) + by);
}

// From memory, so that they are loaded once (see pairs.ts).
const wideMagnitude: usize = memory.data<u64>([0x7fffffffffffffff], 16);
const sixteen: usize = memory.data<u32>([16], 4);

/** Thresholds on their way to vectors: from memory they get there once, otherwise at every turn of the loop. */
const splats: usize = memory.data(16, 4);

/** Raises the key at `at` to the largest of those lanes. */
function raise(at: usize, most: v128): void {
  const high = max<i32>(i32x4.extract_lane(most, 0), i32x4.extract_lane(most, 1));
  const low = max<i32>(i32x4.extract_lane(most, 2), i32x4.extract_lane(most, 3));
  store<i32>(at, max<i32>(load<i32>(at), max<i32>(high, low)));
}

/** counts: elements that are not zero, and those of a key ≥ top. */
function countOne(counts: usize, x: usize, byteLength: usize, top: u32): void {
  const magnitude = magnitudeBits();
  store<u32>(splats, top - 1);
  const below = v128.load32_splat(splats);
  const zero = i64x2.splat(0);
  let zeros = zero;
  let tops = zero;
  for (const end = x + byteLength; x < end; x += 16) {
    const key = v128.and(v128.load(x), magnitude);
    zeros = i32x4.sub(zeros, i32x4.eq(key, zero));
    tops = i32x4.sub(tops, i32x4.gt_s(key, below));
  }
  bump(counts, <i32>(byteLength >> 2) - sumLanes(zeros));
  bump(counts + 4, sumLanes(tops));
}

/** counts: elements where both are not zero, those of them with unlike signs, those where both keys are ≥ their tops. */
function countTwo(counts: usize, x: usize, y: usize, byteLength: usize, topX: u32, topY: u32): void {
  const magnitude = magnitudeBits();
  store<u32>(splats, topX - 1);
  store<u32>(splats, topY - 1, 4);
  const belowX = v128.load32_splat(splats);
  const belowY = v128.load32_splat(splats, 4);
  const zero = i64x2.splat(0);
  let idle = zero;
  let apart = zero;
  let tops = zero;
  for (const end = x + byteLength; x < end; x += 16, y += 16) {
    const a = v128.load(x);
    const b = v128.load(y);
    const keyA = v128.and(a, magnitude);
    const keyB = v128.and(b, magnitude);
    const still = v128.or(i32x4.eq(keyA, zero), i32x4.eq(keyB, zero));
    idle = i32x4.sub(idle, still);
    apart = i32x4.sub(apart, v128.andnot(i32x4.lt_s(v128.xor(a, b), zero), still));
    tops = i32x4.sub(tops, v128.and(i32x4.gt_s(keyA, belowX), i32x4.gt_s(keyB, belowY)));
  }
  bump(counts, <i32>(byteLength >> 2) - sumLanes(idle));
  bump(counts + 4, sumLanes(apart));
  bump(counts + 8, sumLanes(tops));
}

/** A bin holds how many in its upper 24 bits, and the sum of their lower 16 bits in the lower 40: a bin of one value shows. */
function countBits(bins: usize, x: usize, byteLength: usize): void {
  const end = x + byteLength;
  // Two by one load: 4 % of a census of three models.
  for (const even = x + (byteLength & ~7); x < even; x += 8) {
    const pair = load<u64>(x);
    const first = bins + (<usize>((pair >> 16) & 0xffff) << 3);
    store<u64>(first, load<u64>(first) + ((pair & 0xffff) | (1 << 40)));
    const second = bins + (<usize>(pair >> 48) << 3);
    store<u64>(second, load<u64>(second) + (((pair >> 32) & 0xffff) | (1 << 40)));
  }
  if (x < end) {
    const bits = load<u32>(x);
    const bin = bins + ((bits >> 16) << 3);
    store<u64>(bin, load<u64>(bin) + (<u64>(bits & 0xffff) | (1 << 40)));
  }
}

/** Patterns of four elements, each in a table of its own, so that equal neighbours do not wait for each other. */
@inline
function countPatterns(patterns: usize, up: v128, down: v128, row: v128): void {
  const at = i32x4.shl(i32x4.add(i32x4.mul(up, row), down), 4);
  bump(patterns + <usize>i32x4.extract_lane(at, 0), 1);
  bump(patterns + <usize>i32x4.extract_lane(at, 1) + 4, 1);
  bump(patterns + <usize>i32x4.extract_lane(at, 2) + 8, 1);
  bump(patterns + <usize>i32x4.extract_lane(at, 3) + 12, 1);
}

@inline
function upperPair(v: v128): v128 {
  return i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
}

/** Adds |Σδ| to the lanes at `at` and counts how many models go up and down at each element. */
function addTogether(at: usize, patterns: usize, deltas: usize, models: usize, byteLength: usize): void {
  store<u32>(splats, <u32>models + 1);
  const row = v128.load32_splat(splats);
  const zero = i64x2.splat(0);
  let s01 = v128.load(at);
  let s23 = v128.load(at, 16);
  let s45 = v128.load(at, 32);
  let s67 = v128.load(at, 48);
  const far = models * chunkBytes;
  for (let i: usize = 0; i < byteLength; i += 32) {
    let x = deltas + i;
    const end = x + far;
    let sum0 = zero;
    let sum1 = zero;
    let up0 = zero;
    let up1 = zero;
    let down0 = zero;
    let down1 = zero;
    for (; x < end; x += chunkBytes) {
      const a = v128.load(x);
      const b = v128.load(x, 16);
      sum0 = f32x4.add(sum0, a);
      sum1 = f32x4.add(sum1, b);
      up0 = i32x4.sub(up0, f32x4.gt(a, zero));
      up1 = i32x4.sub(up1, f32x4.gt(b, zero));
      down0 = i32x4.sub(down0, f32x4.lt(a, zero));
      down1 = i32x4.sub(down1, f32x4.lt(b, zero));
    }
    sum0 = f32x4.abs(sum0);
    sum1 = f32x4.abs(sum1);
    s01 = f64x2.add(s01, f64x2.promote_low_f32x4(sum0));
    s23 = f64x2.add(s23, f64x2.promote_low_f32x4(upperPair(sum0)));
    s45 = f64x2.add(s45, f64x2.promote_low_f32x4(sum1));
    s67 = f64x2.add(s67, f64x2.promote_low_f32x4(upperPair(sum1)));
    countPatterns(patterns, up0, down0, row);
    countPatterns(patterns, up1, down1, row);
  }
  v128.store(at, s01);
  v128.store(at, s23, 16);
  v128.store(at, s45, 32);
  v128.store(at, s67, 48);
}

// Of up to four models one number tells all there is to count at an element: 0 stays, 1 up, 2 down, 3 and 4 the same with a key
// ≥ its top, to the base of 5. Counts and patterns are taken from its histogram when a call ends.
const mostCoded: usize = 4;
const codes: usize = memory.data(625 * 16, 16);

/** The code with that of one more model. */
@inline
function coded(code: v128, delta: v128, magnitude: v128, below: v128): v128 {
  const zero = i64x2.splat(0);
  const top = i32x4.gt_s(v128.and(delta, magnitude), below);
  const down = i32x4.add(f32x4.lt(delta, zero), top);
  const state = i32x4.add(f32x4.gt(delta, zero), i32x4.add(down, down));
  const twice = i32x4.add(code, code);
  return i32x4.sub(i32x4.add(code, i32x4.add(twice, twice)), state);
}

@inline
function countCodes(code: v128, unit: v128): void {
  const at = i32x4.mul(code, unit);
  bump(codes + <usize>i32x4.extract_lane(at, 0), 1);
  bump(codes + <usize>i32x4.extract_lane(at, 1) + 4, 1);
  bump(codes + <usize>i32x4.extract_lane(at, 2) + 8, 1);
  bump(codes + <usize>i32x4.extract_lane(at, 3) + 12, 1);
}

/** `addTogether` of one to four models, which counts codes. */
function addCoded<Second, Third, Fourth>(at: usize, tops: usize, x: usize, byteLength: usize): void {
  const magnitude = magnitudeBits();
  const unit = v128.load32_splat(sixteen);
  store<u32>(splats, load<u32>(tops) - 1);
  store<u32>(splats, isFloat<Second>() ? load<u32>(tops, 4) - 1 : 0, 4);
  store<u32>(splats, isFloat<Third>() ? load<u32>(tops, 8) - 1 : 0, 8);
  store<u32>(splats, isFloat<Fourth>() ? load<u32>(tops, 12) - 1 : 0, 12);
  const belowA = v128.load32_splat(splats);
  const belowB = v128.load32_splat(splats, 4);
  const belowC = v128.load32_splat(splats, 8);
  const belowD = v128.load32_splat(splats, 12);
  const zero = i64x2.splat(0);
  let s01 = v128.load(at);
  let s23 = v128.load(at, 16);
  let s45 = v128.load(at, 32);
  let s67 = v128.load(at, 48);
  for (const end = x + byteLength; x < end; x += 32) {
    let v = v128.load(x);
    let w = v128.load(x, 16);
    let sum0 = v;
    let sum1 = w;
    let code0 = coded(zero, v, magnitude, belowA);
    let code1 = coded(zero, w, magnitude, belowA);
    if (isFloat<Second>()) {
      v = v128.load(x, 2048);
      w = v128.load(x, 2064);
      sum0 = f32x4.add(sum0, v);
      sum1 = f32x4.add(sum1, w);
      code0 = coded(code0, v, magnitude, belowB);
      code1 = coded(code1, w, magnitude, belowB);
    }
    if (isFloat<Third>()) {
      v = v128.load(x, 4096);
      w = v128.load(x, 4112);
      sum0 = f32x4.add(sum0, v);
      sum1 = f32x4.add(sum1, w);
      code0 = coded(code0, v, magnitude, belowC);
      code1 = coded(code1, w, magnitude, belowC);
    }
    if (isFloat<Fourth>()) {
      v = v128.load(x, 6144);
      w = v128.load(x, 6160);
      sum0 = f32x4.add(sum0, v);
      sum1 = f32x4.add(sum1, w);
      code0 = coded(code0, v, magnitude, belowD);
      code1 = coded(code1, w, magnitude, belowD);
    }
    sum0 = v128.and(sum0, magnitude);
    sum1 = v128.and(sum1, magnitude);
    s01 = f64x2.add(s01, f64x2.promote_low_f32x4(sum0));
    s23 = f64x2.add(s23, f64x2.promote_low_f32x4(upperPair(sum0)));
    s45 = f64x2.add(s45, f64x2.promote_low_f32x4(sum1));
    s67 = f64x2.add(s67, f64x2.promote_low_f32x4(upperPair(sum1)));
    countCodes(code0, unit);
    countCodes(code1, unit);
  }
  v128.store(at, s01);
  v128.store(at, s23, 16);
  v128.store(at, s45, 32);
  v128.store(at, s67, 48);
}

/** Of at most four models: what every element is, 0 to 4. */
const states: usize = memory.data(4 * 4, 4);

/** Adds what the codes count to counts and patterns, and begins them anew. */
function spendCodes(c: Census): void {
  const models = <usize>c.models;
  let cells: usize = 1;
  for (let m: usize = 0; m < models; m++) cells *= 5;
  for (let code: usize = 0; code < cells; code++) {
    const at = codes + (code << 4);
    const seen = sumLanes(v128.load(at));
    if (seen == 0) continue;
    v128.store(at, i64x2.splat(0));
    let up: usize = 0;
    let down: usize = 0;
    let rest = code;
    for (let m = models; m > 0; m--, rest /= 5) {
      const state = <u32>(rest % 5);
      store<u32>(states + ((m - 1) << 2), state);
      if (state & 1) up++;
      else if (state) down++;
    }
    bump(<usize>c.patterns + ((up * (models + 1) + down) << 4), seen);
    let counts = <usize>c.counts;
    for (let m: usize = 0; m < models; m++, counts += 12) {
      const state = load<u32>(states + (m << 2));
      if (state > 0) bump(counts, seen);
      if (state > 2) bump(counts + 4, seen);
    }
    for (let m: usize = 0; m < models; m++) {
      const one = load<u32>(states + (m << 2));
      for (let k = m + 1; k < models; k++, counts += 12) {
        const other = load<u32>(states + (k << 2));
        if (one == 0 || other == 0) continue;
        bump(counts, seen);
        if ((one ^ other) & 1) bump(counts + 4, seen);
        if (one > 2 && other > 2) bump(counts + 8, seen);
      }
    }
  }
}

/** A chunk of `count` elements in the tiles, padded with zeros to eight. */
function chunk(c: Census, count: usize): void {
  const models = <usize>c.models;
  const padded = (count + 7) & ~7;
  const byteLength = padded << 2;
  const base = tilesOf(c);
  const deltas = base + chunkBytes;
  const lanes = <usize>c.scratch;
  addOwn(lanes, lanes + 64, base, byteLength);
  const together = lanes + 128;
  if (models == 1) addCoded<No, No, No>(together, c.tops, deltas, byteLength);
  else if (models == 2) addCoded<Yes, No, No>(together, c.tops, deltas, byteLength);
  else if (models == 3) addCoded<Yes, Yes, No>(together, c.tops, deltas, byteLength);
  else if (models == 4) addCoded<Yes, Yes, Yes>(together, c.tops, deltas, byteLength);
  else addTogether(together, c.patterns, deltas, models, byteLength);
  // The padding is where nobody goes anywhere; it stands in the lanes of the last elements.
  const still = models <= mostCoded ? codes : <usize>c.patterns;
  for (let i = count; i < padded; i++) bump(still + ((i & 3) << 2), -1);
  for (let m: usize = 0; m < models; m++) {
    const x = deltas + m * chunkBytes;
    countBits(<usize>c.bins + (m << 19), x, count << 2);
  }
  if (models == 3) addTriple(lanes + 192, deltas, byteLength);
  else addPairs(lanes + 192, deltas, models, byteLength);
  if (models > mostCoded) countAll(c, deltas, byteLength);
}

/** Sums of any number of models: at `at` Σ|δ|, behind it the products. */
function addPairs(at: usize, deltas: usize, models: usize, byteLength: usize): void {
  let products = at + (models << 6);
  for (let m: usize = 0; m < models; m++) {
    const x = deltas + m * chunkBytes;
    addOwn(at + (m << 6), products, x, byteLength);
    products += 64;
    for (let k = m + 1; k < models; k++, products += 64) addProducts(products, x, deltas + k * chunkBytes, byteLength);
  }
}

/** Counts of any number of models. */
function countAll(c: Census, deltas: usize, byteLength: usize): void {
  const models = <usize>c.models;
  let counts = <usize>c.counts;
  for (let m: usize = 0; m < models; m++, counts += 12) {
    countOne(counts, deltas + m * chunkBytes, byteLength, load<u32>(<usize>c.tops + (m << 2)));
  }
  for (let m: usize = 0; m < models; m++) {
    const x = deltas + m * chunkBytes;
    const top = load<u32>(<usize>c.tops + (m << 2));
    for (let k = m + 1; k < models; k++, counts += 12) {
      countTwo(counts, x, deltas + k * chunkBytes, byteLength, top, load<u32>(<usize>c.tops + (k << 2)));
    }
  }
}

function beginBlock(c: Census): void {
  memory.fill(c.scratch, 0, sumsOf(c.models) << 6);
}

function endBlock(c: Census): void {
  const sums = sumsOf(c.models);
  for (let i: usize = 0; i < sums; i++) store<f64>(<usize>c.out + (i << 3), fold(<usize>c.scratch + (i << 6)));
  c.out += <u32>(sums << 3);
}

/** Copies `count` f32 to a tile, padded to eight. */
function copyTile(tile: usize, x: usize, count: usize): void {
  memory.copy(tile, x, count << 2);
  memory.fill(tile + (count << 2), 0, (((count + 7) & ~7) - count) << 2);
}

/** The largest keys of `count` f32, a multiple of four. */
function largestOf(x: usize, count: usize): v128 {
  const magnitude = magnitudeBits();
  let most = i64x2.splat(0);
  for (const end = x + (count << 2); x < end; x += 16) most = i32x4.max_s(most, v128.and(v128.load(x), magnitude));
  return most;
}

export function census_f32(state: usize, base: usize, deltas: usize, stride: usize, count: usize): void {
  const c = changetype<Census>(state);
  const models = <usize>c.models;
  beginBlock(c);
  for (let done: usize = 0; done < count; done += chunkElements) {
    const n = min(chunkElements, count - done);
    let tile = tilesOf(c);
    copyTile(tile, base + (done << 2), n);
    for (let m: usize = 0; m < models; m++) {
      tile += chunkBytes;
      copyTile(tile, deltas + ((m * stride + done) << 2), n);
      raise(<usize>c.counts + 12 * m + 8, largestOf(tile, (n + 7) & ~7));
    }
    chunk(c, n);
  }
  endBlock(c);
  if (models <= mostCoded) spendCodes(c);
}

/** Stores eight bf16 as f32: the even and the odd ones, put in order again. */
@inline
function storeWide(tile: usize, even: v128, odd: v128): void {
  v128.store(tile, i8x16.shuffle(even, odd, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23));
  v128.store(tile, i8x16.shuffle(even, odd, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31), 16);
}

function widenTile(tile: usize, x: usize, count: usize): void {
  const unit = unitUpper();
  const upper = upperHalves();
  const end = x + (count << 1);
  for (; x < end; x += 16, tile += 32) {
    const v = x + 16 <= end ? v128.load(x) : loadPart(x, end - x);
    storeWide(tile, evens(v, unit), odds(v, upper));
  }
}

/** Stores x − base and returns the largest keys. */
function subtractTile(tile: usize, x: usize, base: usize, count: usize): v128 {
  const unit = unitUpper();
  const upper = upperHalves();
  const magnitude = magnitudeBits();
  let most = i64x2.splat(0);
  const end = x + (count << 1);
  for (; x < end; x += 16, base += 16, tile += 32) {
    const whole = x + 16 <= end;
    const v = whole ? v128.load(x) : loadPart(x, end - x);
    const b = whole ? v128.load(base) : loadPart(base, end - x);
    const even = f32x4.sub(evens(v, unit), evens(b, unit));
    const odd = f32x4.sub(odds(v, upper), odds(b, upper));
    most = i32x4.max_s(most, i32x4.max_s(v128.and(even, magnitude), v128.and(odd, magnitude)));
    storeWide(tile, even, odd);
  }
  return most;
}

/** Whether all are below 2^127 in magnitude, so that no difference of two overflows. */
function isModest(x: usize, count: usize): bool {
  const end = x + (count << 1);
  let top = i16x8.splat(0);
  for (; x + 16 <= end; x += 16) top = larger(top, v128.load(x));
  if (x < end) top = larger(top, loadPart(x, end - x));
  return !v128.any_true(i16x8.ge_u(top, i16x8.splat(<i16>0xfe00)));
}

export function survey_census_bf16(state: usize, base: usize, inputs: usize, count: usize): usize {
  const c = changetype<Census>(state);
  const models = <usize>c.models;
  let done: usize = 0;
  while (done < count) {
    const elements = min(blockElements, count - done);
    let modest = isModest(base + (done << 1), elements);
    for (let m: usize = 0; m < models && modest; m++) {
      modest = isModest(<usize>load<u32>(inputs + (m << 2)) + (done << 1), elements);
    }
    if (!modest) break;
    beginBlock(c);
    for (const end = done + elements; done < end; ) {
      const n = min(chunkElements, end - done);
      const from = base + (done << 1);
      let tile = tilesOf(c);
      widenTile(tile, from, n);
      for (let m: usize = 0; m < models; m++) {
        tile += chunkBytes;
        const most = subtractTile(tile, <usize>load<u32>(inputs + (m << 2)) + (done << 1), from, n);
        raise(<usize>c.counts + 12 * m + 8, most);
      }
      chunk(c, n);
      done += n;
    }
    endBlock(c);
  }
  if (models <= mostCoded) spendCodes(c);
  return done;
}

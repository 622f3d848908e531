// Philox4x32 with 10 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), with a block in every lane.
//
// Word j of the blocks b … b+3 is one vector. Round:
//   (hi0, lo0) = M0·c0    (hi1, lo1) = M1·c2
//   c ← (hi1 ⊕ c1 ⊕ k0, lo1, hi0 ⊕ c3 ⊕ k1, lo0), then k0 += W0, k1 += W1

const M0: u32 = 0xd2511f53;
const M1: u32 = 0xcd9e8d57;
const W0: u32 = 0x9e3779b9;
const W1: u32 = 0xbb67ae85;

// Engines build a constant vector of the code again at every use; one from memory they keep.
const factors: usize = memory.data<u32>([M0, M1, 4], 4);
/** The keys of every round as vectors, k0 and k1. */
const roundKeys: usize = memory.data(10 * 32, 16);

// The product of four lanes as 64 bits, two vectors of two:
//
//   low    | lo(0)  hi(0) | lo(1)  hi(1) |
//   high   | lo(2)  hi(2) | lo(3)  hi(3) |
//
// and its words gathered again, lane by lane:
//
//   lower  | lo(0)  lo(1)  lo(2)  lo(3)  |     even words of low, high
//   upper  | hi(0)  hi(1)  hi(2)  hi(3)  |     odd words of low, high

function lower(low: v128, high: v128): v128 {
  return v128.shuffle<u32>(low, high, 0, 2, 4, 6);
}

function upper(low: v128, high: v128): v128 {
  return v128.shuffle<u32>(low, high, 1, 3, 5, 7);
}

// From one word a vector to one block a vector, a 4×4 transpose:
//
//   w0   | w0(0) w0(1) w0(2) w0(3) |      low01   | w0(0) w1(0) w0(1) w1(1) |      | w0(0) w1(0) w2(0) w3(0) |   block 0
//   w1   | w1(0) w1(1) w1(2) w1(3) |  →   low23   | w2(0) w3(0) w2(1) w3(1) |  →   | w0(1) w1(1) w2(1) w3(1) |   block 1
//   w2   | w2(0) w2(1) w2(2) w2(3) |      high01  | w0(2) w1(2) w0(3) w1(3) |      | w0(2) w1(2) w2(2) w3(2) |   block 2
//   w3   | w3(0) w3(1) w3(2) w3(3) |      high23  | w2(2) w3(2) w2(3) w3(3) |      | w0(3) w1(3) w2(3) w3(3) |   block 3

function storeBlocks(out: usize, w0: v128, w1: v128, w2: v128, w3: v128): void {
  const low01 = v128.shuffle<u32>(w0, w1, 0, 4, 1, 5);
  const low23 = v128.shuffle<u32>(w2, w3, 0, 4, 1, 5);
  v128.store(out, v128.shuffle<u64>(low01, low23, 0, 2));
  v128.store(out, v128.shuffle<u64>(low01, low23, 1, 3), 16);
  const high01 = v128.shuffle<u32>(w0, w1, 2, 6, 3, 7);
  const high23 = v128.shuffle<u32>(w2, w3, 2, 6, 3, 7);
  v128.store(out, v128.shuffle<u64>(high01, high23, 0, 2), 32);
  v128.store(out, v128.shuffle<u64>(high01, high23, 1, 3), 48);
}

/**
 * Writes the random bytes of blocks (lo, hi), (lo, hi) + 1, … to `out`, 16 a block, eight blocks at a time, until `end`
 * is reached or passed by less than 128 bytes. The counter is (lo, hi, 0, 0).
 *
 * Two groups of four blocks hide each other's latency; rounds in a loop leave enough registers. ns an element of the whole
 * of keep_mask, V8 and JavaScriptCore:
 *
 *   constants in the code, lower words by shuffle        0.80  0.74
 *   constants from memory                                0.54  0.72
 *   … and lower words by i32x4.mul                       0.52  0.70    (JavaScriptCore shuffles in three operations)
 *   … and the keys of the rounds from memory             0.51  0.66    this one
 *   … and one group instead of two                       0.59  0.81
 */
export function philoxBytes(out: usize, end: usize, lo: u32, hi: u32, k0: u32, k1: u32): void {
  const m0 = v128.load32_splat(factors);
  const m1 = v128.load32_splat(factors, 4);
  const four = v128.load32_splat(factors, 8);
  let low = i32x4.add(i32x4.splat(lo), i32x4(0, 1, 2, 3));
  let high = i32x4.sub(i32x4.splat(hi), i32x4.lt_u(low, i32x4.splat(lo))); // a lane that wrapped carries
  for (let round: u32 = 0; round < 10; round++) {
    v128.store(roundKeys + (round << 5), i32x4.splat(k0 + round * W0));
    v128.store(roundKeys + (round << 5), i32x4.splat(k1 + round * W1), 16);
  }
  for (; out < end; out += 128) {
    let key0 = v128.load(roundKeys);
    let key1 = v128.load(roundKeys, 16);
    // The first round knows that c2 = c3 = 0.
    let a = i64x2.extmul_low_i32x4_u(low, m0);
    let b = i64x2.extmul_high_i32x4_u(low, m0);
    let c0 = v128.xor(high, key0);
    let c1 = i32x4.splat(0);
    let c2 = v128.xor(upper(a, b), key1);
    let c3 = i32x4.mul(low, m0);
    low = i32x4.add(low, four);
    high = i32x4.sub(high, i32x4.lt_u(low, four));
    a = i64x2.extmul_low_i32x4_u(low, m0);
    b = i64x2.extmul_high_i32x4_u(low, m0);
    let d0 = v128.xor(high, key0);
    let d1 = i32x4.splat(0);
    let d2 = v128.xor(upper(a, b), key1);
    let d3 = i32x4.mul(low, m0);
    low = i32x4.add(low, four);
    high = i32x4.sub(high, i32x4.lt_u(low, four));
    for (let round: usize = 32; round < 320; round += 32) {
      key0 = v128.load(roundKeys + round);
      key1 = v128.load(roundKeys + round, 16);
      a = i64x2.extmul_low_i32x4_u(c0, m0);
      b = i64x2.extmul_high_i32x4_u(c0, m0);
      let c = i64x2.extmul_low_i32x4_u(c2, m1);
      let d = i64x2.extmul_high_i32x4_u(c2, m1);
      const lowerC = i32x4.mul(c2, m1);
      c2 = v128.xor(v128.xor(upper(a, b), c3), key1);
      c3 = i32x4.mul(c0, m0);
      c0 = v128.xor(v128.xor(upper(c, d), c1), key0);
      c1 = lowerC;
      a = i64x2.extmul_low_i32x4_u(d0, m0);
      b = i64x2.extmul_high_i32x4_u(d0, m0);
      c = i64x2.extmul_low_i32x4_u(d2, m1);
      d = i64x2.extmul_high_i32x4_u(d2, m1);
      const lowerD = i32x4.mul(d2, m1);
      d2 = v128.xor(v128.xor(upper(a, b), d3), key1);
      d3 = i32x4.mul(d0, m0);
      d0 = v128.xor(v128.xor(upper(c, d), d1), key0);
      d1 = lowerD;
    }
    storeBlocks(out, c0, c1, c2, c3);
    storeBlocks(out + 64, d0, d1, d2, d3);
  }
}

/**
 * The 24 bits that decide an element whose byte equals its threshold's, for four elements (lanes): element `index`
 * (0…15) of block (lo, hi) has word index mod 4 of counter (lo, hi, 1, index >> 2).
 */
export function philoxRefine(lo: v128, hi: v128, index: v128, k0: u32, k1: u32): v128 {
  const m0 = i32x4.splat(M0);
  const m1 = i32x4.splat(M1);
  let key0 = i32x4.splat(k0);
  let key1 = i32x4.splat(k1);
  let c0 = lo;
  let c1 = hi;
  let c2 = i32x4.splat(1);
  let c3 = i32x4.shr_u(index, 2);
  for (let round = 0; round < 10; round++) {
    const a = i64x2.extmul_low_i32x4_u(c0, m0);
    const b = i64x2.extmul_high_i32x4_u(c0, m0);
    const c = i64x2.extmul_low_i32x4_u(c2, m1);
    const d = i64x2.extmul_high_i32x4_u(c2, m1);
    c0 = v128.xor(v128.xor(upper(c, d), c1), key0);
    c1 = lower(c, d);
    c2 = v128.xor(v128.xor(upper(a, b), c3), key1);
    c3 = lower(a, b);
    key0 = i32x4.add(key0, i32x4.splat(W0));
    key1 = i32x4.add(key1, i32x4.splat(W1));
  }
  const odd = i32x4.ne(v128.and(index, i32x4.splat(1)), i32x4.splat(0));
  const upperHalf = i32x4.ne(v128.and(index, i32x4.splat(2)), i32x4.splat(0));
  const word = v128.bitselect(v128.bitselect(c3, c2, odd), v128.bitselect(c1, c0, odd), upperHalf);
  return i32x4.shr_u(word, 8);
}

// Philox4x32 with 10 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), four blocks at once.
//
// A lane is a block: word j of blocks b … b+3 is one vector. Round:
//   (hi0, lo0) = M0·c0    (hi1, lo1) = M1·c2
//   c ← (hi1 ⊕ c1 ⊕ k0, lo1, hi0 ⊕ c3 ⊕ k1, lo0), then k0 += W0, k1 += W1

const M0: u32 = 0xd2511f53;
const M1: u32 = 0xcd9e8d57;
const W0: u32 = 0x9e3779b9;
const W1: u32 = 0xbb67ae85;

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

/**
 * Writes the 64 random bytes of blocks (lo, hi), one block per lane, to `out`: 16 bytes a block, in block order.
 * The counter is (lo, hi, 0, 0).
 */
export function philoxBytes(out: usize, lo: v128, hi: v128, k0: u32, k1: u32): void {
  const m0 = i32x4.splat(M0);
  const m1 = i32x4.splat(M1);
  const w0 = i32x4.splat(W0);
  const w1 = i32x4.splat(W1);
  let key0 = i32x4.splat(k0);
  let key1 = i32x4.splat(k1);
  // The first round knows that c2 = c3 = 0.
  let a = i64x2.extmul_low_i32x4_u(lo, m0);
  let b = i64x2.extmul_high_i32x4_u(lo, m0);
  let c0 = v128.xor(hi, key0);
  let c1 = i32x4.splat(0);
  let c2 = v128.xor(upper(a, b), key1);
  let c3 = lower(a, b);
  for (let round = 1; round < 10; round++) {
    key0 = i32x4.add(key0, w0);
    key1 = i32x4.add(key1, w1);
    a = i64x2.extmul_low_i32x4_u(c0, m0);
    b = i64x2.extmul_high_i32x4_u(c0, m0);
    const c = i64x2.extmul_low_i32x4_u(c2, m1);
    const d = i64x2.extmul_high_i32x4_u(c2, m1);
    c0 = v128.xor(v128.xor(upper(c, d), c1), key0);
    c1 = lower(c, d);
    c2 = v128.xor(v128.xor(upper(a, b), c3), key1);
    c3 = lower(a, b);
  }
  // From one word a vector to one block a vector, a 4×4 transpose:
  //
  //   c0   | w0(0) w0(1) w0(2) w0(3) |       ab     | w0(0) w1(0) w0(1) w1(1) |      block 0  | w0(0) w1(0) w2(0) w3(0) |
  //   c1   | w1(0) w1(1) w1(2) w1(3) |  →    cd     | w2(0) w3(0) w2(1) w3(1) |  →   block 1  | w0(1) w1(1) w2(1) w3(1) |
  //   c2   | w2(0) …                 |       ab', cd' the same of blocks 2 and 3      …
  const ab = v128.shuffle<u32>(c0, c1, 0, 4, 1, 5);
  const cd = v128.shuffle<u32>(c2, c3, 0, 4, 1, 5);
  v128.store(out, v128.shuffle<u64>(ab, cd, 0, 2));
  v128.store(out, v128.shuffle<u64>(ab, cd, 1, 3), 16);
  const ab2 = v128.shuffle<u32>(c0, c1, 2, 6, 3, 7);
  const cd2 = v128.shuffle<u32>(c2, c3, 2, 6, 3, 7);
  v128.store(out, v128.shuffle<u64>(ab2, cd2, 0, 2), 32);
  v128.store(out, v128.shuffle<u64>(ab2, cd2, 1, 3), 48);
}

/** The 24 bits that decide element `index` (0…15) of block (lo, hi) when its byte equals the threshold's. */
export function philoxRefine(lo: u32, hi: u32, index: u32, k0: u32, k1: u32): u32 {
  let c0 = lo;
  let c1 = hi;
  let c2: u32 = 1;
  let c3: u32 = index >> 2;
  for (let round = 0; round < 10; round++) {
    const p0 = <u64>M0 * <u64>c0;
    const p1 = <u64>M1 * <u64>c2;
    c0 = <u32>(p1 >> 32) ^ c1 ^ k0;
    c1 = <u32>p1;
    c2 = <u32>(p0 >> 32) ^ c3 ^ k1;
    c3 = <u32>p0;
    k0 += W0;
    k1 += W1;
  }
  const word = index & 3;
  return (word < 2 ? (word == 0 ? c0 : c1) : word == 2 ? c2 : c3) >> 8;
}

// The kernels: what this file exports is the ABI. `src/kernel/kernel.ts` types it, `src/kernel/reference.ts` is the slow twin.
//
// Pointers are byte addresses in memory that the caller owns, of any alignment; `count` is a number of elements, 0 included.
// No kernel allocates, and none writes beyond `count` elements. x, acc, base, votes and sums are f32 tiles.
// A key is the bits of |x| as u32: keys order as magnitudes do, NaN last.

/** Where free memory starts. */
export function heap_base(): usize {
  return __heap_base;
}

export {
  /** out f32 ← input; exact. NaN payloads are kept where the dtype has room. */
  decode_f32,
  decode_bf16,
  decode_f16,
  /** out ← input f32; nearest even, canonical NaN (7fc00000, 7fc0, 7e00), overflow to ±infinity. `encode_f32` may work in place. */
  encode_f32,
  encode_bf16,
  encode_f16,
} from "./lanes";

export {
  /** How many of the elements are NaN or ±infinity. */
  nonfinite_f32,
  nonfinite_bf16,
  nonfinite_f16,
  /** The index of the first of them, or −1. */
  first_nonfinite_f32,
  first_nonfinite_bf16,
  first_nonfinite_f16,
  /** (x, base, count): x ← base where x is NaN or ±infinity. */
  replace_nonfinite,
  /** (a, b, count) → Σ a·b in f64; lane j of 8 sums indices ≡ j (mod 8), then ((s0+s4)+(s2+s6)) + ((s1+s5)+(s3+s7)). */
  dot,
  /** (a, count) → Σ |a|, in the order of `dot`. */
  l1,
  /** (a, count) → max |a|; 0 when empty, NaN ignored. */
  max_abs,
  /** (a, count) → how many are not ±0. NaN is not zero. */
  nonzero,
  /** (a, b, byteCount) → 1 when the bytes are the same, else 0. */
  same_bytes,
} from "./tally";

export {
  /** (out, x, base, count): out ← x − base. `out` may be `x`. */
  delta,
  /** (out, x, c, count): out ← c·x. `out` may be `x`. */
  scale,
  /** (acc, x, c, count): acc ← acc + c·x, rounded twice. */
  axpy,
  /** (out, base, acc, lambda, count): out ← base + lambda·acc, rounded twice. `out` may be `base` or `acc`. */
  finish,
  /** (x, limit, count): |x| > limit becomes ±limit, NaN stays; returns how many changed. */
  clamp_finite,
} from "./blend";

export {
  /**
   * (mask u8, k0, k1, blockLo, blockHi, threshold, count): braid-mask-v1 from the 16-element block blockHi·2^32 + blockLo on;
   * 0xff keeps, 0 drops; returns how many are kept.
   */
  keep_mask,
  /** (mask u8, k0, k1, blockLo, blockHi, thresholds u32, count): as `keep_mask`, with a threshold for every element. */
  keep_mask_each,
  /**
   * (mask u8, k0, k1, blockLo, blockHi, start, length, count): as `keep_mask`, but keeps where an element's 32 bits lie in
   * [start, start + length) mod 2^32.
   */
  keep_mask_within,
  /** (x, mask u8, count): x ← mask ? x : +0. Selects bits: a NaN that is dropped is gone. */
  select,
} from "./dare";

export {
  /** (x, above, equalBefore, count): keeps keys above `above`, and equal ones at indices below `equalBefore`; returns how many. */
  trim,
  /**
   * (out, votes, factors, weights, models, stride, count, by, zero, divide): elects a sign at every index and sums the models
   * that agree. Votes of model m start at votes + 4·stride·m. S = Σ vote (by 0) or Σ sgn vote (by 1); S = 0 elects none,
   * + or − (zero 0, 1, 2). out ← Σ factors[m]·vote over agreeing m, over Σ weights[m] of them if `divide` (over 1 where
   * that is below 1e-8 in magnitude); +0 where none is elected, NaN where S is NaN. Sums run in model order from +0.
   */
  elect,
} from "./ties";

export {
  /**
   * (x, low, lowFrom, high, highBefore, count): keeps keys between `low` and `high`, those equal to `low` at indices from
   * `lowFrom` on, and those equal to `high` at indices below `highBefore`; returns how many.
   */
  window,
  /**
   * (mask u8, x bf16, base bf16, low, high, count): 0xff where the key of x − base in f32 is from `low` to `high`, both included,
   * else 0. For finite inputs.
   */
  window_mask_bf16,
} from "./window";

export {
  /**
   * (slots, x, count, low, high, shift, hot): counts the keys in [low, high) and returns the number ≥ high. Slot (key − low) >>> shift
   * is two u32: its key, or 2^32 − 1 where it has seen several, and how many. low ≥ 1; `hot` is a key in the bracket that is
   * frequent and so counted by vectors, or 2^32 − 1.
   */
  bracket,
  /**
   * (slots, count, low, shift): moves the slots that hold anything to the front and returns how many. The key of one that has seen
   * several becomes 2^31 + the first that it could hold.
   */
  used_slots,
  /** (x, key, count) → how many have this key. */
  equals,
  /** (x, key, n, count) → the index of the n-th (from 0) that has this key, or −1. */
  nth_equal,
} from "./select";

export {
  /** (slots, x bf16, base bf16, count, low, high, shift, hot): `bracket` of x − base in f32. */
  bracket_bf16,
  /** The same of f32. */
  bracket_f32,
  /**
   * (brackets, operands, count): `bracket_bf16` of several operands, block by block of 4,096. A bracket is ten u32: slots, x,
   * base, low, high, shift, hot, the number above (added up over calls) and two of the kernel's own. Returns how many elements
   * were counted: it stops before a block whose inputs, or deltas, may hold an infinity or NaN.
   */
  survey_brackets_bf16,
} from "./brackets";

// Of a sample. Keys are u32 of 31 bits; a bin is 2^15 of them.
export {
  /** (x, count): the keys of f32, in their place. */
  sample_keys,
  /** (bins u32, keys, count): adds the keys to the counts of their bins, 2^16 of them. */
  sample_bins,
  /**
   * (counts u32, keys, pieces, length, first, second): of each piece of `length` keys, a multiple of 4, the number > first, > second
   * and > 0.
   */
  sample_above,
  /** (out, keys, count, bin): the keys in a bin, in order; returns their number. `count`: a multiple of 4; `out` has room for 4 more. */
  sample_within,
} from "./sample";

// Rules over the deltas of all models at an element. Deltas of model m start at deltas + 4·stride·m; NaN gives NaN.
export {
  /**
   * (out, deltas, boosts, models, stride, epsilon, count): a model contributes where |δ| > epsilon. One contributor: boosts[m]·δ;
   * more: Σ δ over their number; none: 0.
   */
  contribute,
  /** (counts u32, deltas, models, stride, epsilon, count): adds to counts[2m] and [2m + 1] where m contributes alone and with others. */
  contributors,
  /** (out, deltas, models, stride, count): out ← the δ of the largest key; the last of equal ones. models ≥ 1. */
  largest,
  /** (out, deltas, models, stride, count): out ← the largest |δ| among those with the sign of Σ δ (− where it is 0), with it. */
  unify,
  /**
   * (out, total, deltas, lambdas, models, stride, least, count): out ← total where at least `least` models have
   * |δ| > lambdas[m]·|total − δ| or total is not finite, else 0. `out` may be `total`.
   */
  consent,
  /**
   * (out, deltas, weights, models, stride, floor, count): out ← Σ weights[m]·δ / max(floor, Σ weights[m]) over the δ with the sign
   * of Σ δ (+ where it is 0); 0 where the divisor is 0.
   */
  erase,
  /** (out, deltas, models, stride, count): out ← the population variance of the δ, in f64, rounded to f32 at the end. */
  variance,
  /** (x, scores, above, equalBefore, count): `trim` of x by the keys of `scores`; returns how many are kept. */
  trim_by,
  /** (out, a, b, t, count): out ← w·b + (1 − w)·a, w = min(max(t / max(|a − b|, 1e-6), 0), 1). `out` may be `a` or `b`. */
  nearswap,
} from "./contribute";

export {
  /**
   * (out u32, other u32 or 0, x, table u32, otherTable u32, count, spare): out[i] ← table[r], and other[i] ← otherTable[r], where
   * r is the rank of x[i]: how many keys are below its own, or equal to it at lower indices. `x` is one row; it may be read (and
   * must be readable) up to the next multiple of 8. `spare` has 12·count + 64 bytes.
   */
  rank_row,
  /** (x, mask u8, factors, count): x ← mask ? x·factor : +0. */
  select_scaled,
} from "./rows";

/**
 * (out f64, inputs, base, vectors, count): `dot` of all pairs i ≤ j of bf16 vectors, row by row; of their deltas in f32 unless `base`
 * is 0. inputs is an array of u32 pointers.
 */
export {
  dots_bf16,
  /**
   * (out f64, inputs u32 pointers, base or 0, vectors, count): `dots_bf16` of each block of 4,096, block after block. Returns for
   * how many elements there are products: it stops before a block whose vectors hold an infinity or NaN.
   */
  survey_dots_bf16,
} from "./dots";

export {
  /** (x) → e^x and ln x, f64. */
  exp as exp_f64,
  log as log_f64,
} from "./exponential";

export {
  /**
   * (out, x, base, columns, count): out ← |x − base|·KL, KL the divergence Σ p·ln(p/q) of the row, p and q the softmax of its x and
   * base plus 1e-8, in f64. `count` is a multiple of `columns`. What is not finite in both has no part in KL. `out` may be `x`.
   */
  importance,
} from "./importance";

// Fused: what the kernels above give one after the other, to the bit, for inputs and output in bf16 or f32 and 1 to 64 models.
// inputs and masks are arrays of u32 pointers, scales, weights and above arrays of one number a model; x is an input.
// They return 0, or 1 when an input (masked or not) or the output holds NaN or an infinity: then the output is worth nothing.
export {
  /** (out, inputs, scales, models, lambda, count): out ← lambda · Σ c·x. */
  merge_linear_bf16,
  merge_linear_f32,
  /** (out, base, inputs, scales, models, lambda, count): out ← base + lambda · Σ c·(x − base). */
  merge_delta_bf16,
  merge_delta_f32,
  /** (out, base, inputs, scales, masks, models, lambda, count): with x − base selected by a mask where its pointer is not 0. */
  merge_dare_bf16,
  merge_dare_f32,
  /** (out, base, inputs, scales, lows, highs, models, lambda, count): with a window of keys of each x − base, both limits included. */
  merge_window_bf16,
  /**
   * (out, base, inputs, scales, masks, above, models, lambda, zero, divide, weights, count): x − base selected by its mask,
   * trimmed to keys ≥ above (0 keeps all), scaled by c, then `elect` by sum with factors of 1.
   */
  merge_elect_bf16,
  merge_elect_f32,
  /**
   * (out, base, inputs, scales, above, models, lambda, zero, divide, weights, counts, count): `merge_elect_bf16` without masks, of models
   * that are all trimmed, which counts meanwhile: for each model two u32, the keys > above and those that equal it.
   */
  survey_elect_bf16,
  survey_elect_f32,
  survey_window_bf16,
} from "./merge";

export {
  /** (out, left, right, rank, pitch, count): out[j] ← Σ over k of left[k] · right[k·pitch + j], k ascending from +0. */
  fold_row,
  /** (out, outPitch, left, right, rank, pitch, count): `fold_row` of four rows of left, `rank` apart, to rows outPitch apart. */
  fold_four,
} from "./fold";

// Whole matrices, f64, row-major; strides and counts in elements. `narrow` says that a factor is f32.
export {
  /** () → bytes of scratch that `gemm_f64` needs. */
  gemm_scratch,
  /**
   * (c, cRow, a, aNarrow, aRow, aColumn, b, bNarrow, bRow, bColumn, m, n, depth, factor, scratch): c ← c + (factor·a)·b, m × n;
   * element (i, k) of `a` is at i·aRow + k·aColumn, (k, j) of `b` at k·bRow + j·bColumn. Each element sums 256 inner indices
   * from +0, in order, and adds that to what it was.
   */
  gemm_f64,
  /** (a, b, count) → Σ a·b: even and odd indices apart. */
  dot_f64,
  /** (acc, x, factor, count): acc ← acc + factor·x. */
  axpy_f64,
  /** (acc f64, x f32, factor, count): acc ← acc + factor·x. */
  axpy_f64_f32,
  /** (x, factor, count): x ← factor·x. */
  scale_f64,
  /** (x, y, c, s, count): (x, y) ← (c·x + s·y, c·y − s·x). */
  rotate_f64,
  /** (y, a, stride, x, n): y ← y + A·x, A symmetric, read from its lower triangle. */
  symv_f64,
  /** (out f32, outRow, in f32, inRow, m, n): out[j][i] ← in[i][j] for i < m, j < n. */
  transpose_f32,
  /** (out f32, x f64, count): nearest even. */
  narrow_f64,
} from "./matrix";

// Fourier transforms of complex f64, real and imaginary part side by side.
export {
  /** (y, x, n, p, s, twiddles, back, corner): a step of radix p, n divisible by s·p; corner has room for p numbers. */
  fourier_step,
  /** (out, a, b, count): out ← a·b. */
  multiply_complex,
} from "./fourier";
export {
  /** out f32 ← fp8, exact, and fp8 ← f32, nearest even; E4M3 has no infinity, what is too large for it is NaN. */
  decode_f8_e4m3,
  decode_f8_e5m2,
  encode_f8_e4m3,
  encode_f8_e5m2,
  /** As those of the other dtypes. */
  nonfinite_f8_e4m3,
  nonfinite_f8_e5m2,
  first_nonfinite_f8_e4m3,
  first_nonfinite_f8_e5m2,
} from "./f8";

export {
  /** out f32 ← f64, nearest even, and f64 ← f32, exact; canonical NaN. Beyond what f32 holds counts as non-finite. */
  decode_f64,
  encode_f64,
  nonfinite_f64,
  first_nonfinite_f64,
} from "./f64";

export {
  /** (out u32, k0, k1, blockLo, blockHi, count): words of Philox, four a block; up to 124 bytes beyond are written. */
  philox_words,
  /** (x, bits u32, fraction, lowest, count): x ← a neighbour that a dtype of that shape holds, chosen by its bits. */
  dither,
} from "./dither";

// The forward pass of a Llama, f32.
export {
  /**
   * (out, outPitch, x, w, rows, depth, count): out[i·outPitch + j] ← Σ over k of x[i·depth + k]·w[j·depth + k]. Lane l of 4 adds
   * k ≡ l (mod 4), then (s0 + s2) + (s1 + s3).
   */
  project_f32,
  /** (out, x, w bf16, depth, count): `project_f32` of one row. */
  project_bf16,
  /** (out, x, weight, epsilon f64, count): out ← weight·(x·r), r = 1/√(dot(x, x)/count + epsilon) in f64, rounded to f32. `out` may be `x`. */
  rms_norm,
  /** (x, cosines, sines, half): (x[i], x[half + i]) ← (x[i]·c − x[half + i]·s, x[half + i]·c + x[i]·s). */
  rotate_half,
  /** (x, scale, count): x ← softmax(scale·x), summed as `project_f32` sums. */
  softmax,
  /** (gate, up, count): gate ← silu(gate)·up. */
  swiglu,
} from "./infer";

// One bit an element: element i is bit i mod 8 of byte i div 8, the least significant first.
export {
  /**
   * (bits, x, y, count) → how many are set: where x and y have one sign and neither is zero. Bits beyond the last element of the
   * last byte are 0.
   */
  agree_bits,
  /** (acc, x, bits, firstBit, c, count): acc ← acc + c·x, rounded twice, where bit firstBit + i is set; elsewhere it stays. */
  axpy_bits,
} from "./bits";
// What an analysis counts. `state` is seven u32: the number of models N (1 to 64), and pointers:
//   sums     f64, moved on by 3 + N + N·(N + 1)/2 for each block of 4,096: Σ|b|, Σb², Σ|Σδ| (Σδ in f32, in model order), Σ|δ| of
//            each model, then Σδδ of all pairs i ≤ j, row by row; all in the order of `dot`
//   counts   u32, three a model and then three a pair i < j. Of a model: elements that are not zero, those of a key ≥ its top, the
//            largest key. Of a pair: elements where both are not zero, those of them of unlike signs, both keys ≥ their tops
//   bins     u64, 65,536 a model, by the upper half of the bits of δ: 2^40 for each, and the sum of their lower halves
//   patterns u32, four a cell, which are to be added up; cell p·(N + 1) + q counts elements with p δ above and q below zero
//   tops     u32, a key ≥ 1 a model
//   scratch  (sums of a row)·64 + (N + 1)·2,048 bytes, aligned to 16
// All but sums and scratch are added to. δ and base must be finite; a call may bring a bin no more than 2^24 − 1 elements in all.
export {
  /** (state, base, deltas, stride, count): of a block, as f32; deltas of model m start at deltas + 4·stride·m. */
  census_f32,
  /**
   * (state, base bf16, inputs u32 pointers to bf16, count): of whole blocks, with δ = x − base in f32. Returns how many elements were
   * taken: it stops before a block that holds a magnitude ≥ 2^127, infinity or NaN.
   */
  survey_census_bf16,
} from "./census";

export {
  /** (state, input, blocks): takes blocks of 64 bytes into the eight u32 at state. */
  sha256_blocks,
} from "./sha256";

// Columns: element i of a run is of column (first + i) mod length.
export {
  /** (sums f64, a, b, first, length, count): sums[column] ← sums[column] + a·b in f64, in the order of the elements. */
  dots_columns,
  /** (out, x, c, count): out ← c·x, element by element. `out` may be `x`. */
  scale_each,
  /** (acc, x, c, count): acc ← acc + c·x, element by element, rounded twice. */
  axpy_each,
  /** (counts u32, x, count): adds to counts[0] how many x are above zero, to counts[1] how many below. */
  count_signs,
} from "./lines";

// The table of what the compiled kernels export, as TypeScript sees it.

/** A byte address in the memory of a kernel. */
export type Pointer = number;

/**
 * What assembly/index.ts exports; its comments say what each kernel computes. `count` is a number of elements. u32
 * parameters may be given as any integer of the same 32 bits.
 */
export interface KernelExports {
  heap_base(): Pointer;

  decode_f32(out: Pointer, input: Pointer, count: number): void;
  decode_bf16(out: Pointer, input: Pointer, count: number): void;
  decode_f16(out: Pointer, input: Pointer, count: number): void;
  encode_f32(out: Pointer, input: Pointer, count: number): void;
  encode_bf16(out: Pointer, input: Pointer, count: number): void;
  encode_f16(out: Pointer, input: Pointer, count: number): void;

  nonfinite_f32(input: Pointer, count: number): number;
  nonfinite_bf16(input: Pointer, count: number): number;
  nonfinite_f16(input: Pointer, count: number): number;
  first_nonfinite_f32(input: Pointer, count: number): number;
  first_nonfinite_bf16(input: Pointer, count: number): number;
  first_nonfinite_f16(input: Pointer, count: number): number;
  decode_f8_e4m3(out: Pointer, input: Pointer, count: number): void;
  encode_f8_e4m3(out: Pointer, input: Pointer, count: number): void;
  nonfinite_f8_e4m3(input: Pointer, count: number): number;
  first_nonfinite_f8_e4m3(input: Pointer, count: number): number;
  decode_f8_e5m2(out: Pointer, input: Pointer, count: number): void;
  encode_f8_e5m2(out: Pointer, input: Pointer, count: number): void;
  nonfinite_f8_e5m2(input: Pointer, count: number): number;
  first_nonfinite_f8_e5m2(input: Pointer, count: number): number;
  decode_f64(out: Pointer, input: Pointer, count: number): void;
  encode_f64(out: Pointer, input: Pointer, count: number): void;
  nonfinite_f64(input: Pointer, count: number): number;
  first_nonfinite_f64(input: Pointer, count: number): number;
  philox_words(out: Pointer, k0: number, k1: number, blockLo: number, blockHi: number, count: number): void;
  dither(x: Pointer, bits: Pointer, fraction: number, lowest: number, count: number): void;
  replace_nonfinite(x: Pointer, base: Pointer, count: number): void;

  delta(out: Pointer, x: Pointer, base: Pointer, count: number): void;
  scale(out: Pointer, x: Pointer, c: number, count: number): void;
  axpy(acc: Pointer, x: Pointer, c: number, count: number): void;
  finish(out: Pointer, base: Pointer, acc: Pointer, lambda: number, count: number): void;
  clamp_finite(x: Pointer, limit: number, count: number): number;

  keep_mask(
    mask: Pointer,
    k0: number,
    k1: number,
    blockLo: number,
    blockHi: number,
    threshold: number,
    count: number,
  ): number;
  keep_mask_each(
    mask: Pointer,
    k0: number,
    k1: number,
    blockLo: number,
    blockHi: number,
    thresholds: Pointer,
    count: number,
  ): number;
  keep_mask_within(
    mask: Pointer,
    k0: number,
    k1: number,
    blockLo: number,
    blockHi: number,
    start: number,
    length: number,
    count: number,
  ): number;
  select(x: Pointer, mask: Pointer, count: number): void;

  trim(x: Pointer, above: number, equalBefore: number, count: number): number;
  window(
    x: Pointer,
    low: number,
    /** Keys equal to `low` stay from this index on, keys equal to `high` below that one. */
    lowFrom: number,
    high: number,
    highBefore: number,
    count: number,
  ): number;
  window_mask_bf16(mask: Pointer, x: Pointer, base: Pointer, low: number, high: number, count: number): void;
  elect(
    out: Pointer,
    votes: Pointer,
    factors: Pointer,
    weights: Pointer,
    models: number,
    stride: number,
    count: number,
    /** 0: the sum of the votes; 1: the sum of their signs. */
    by: number,
    /** What a sum of zero elects: 0 none, 1 +, 2 −. */
    zero: number,
    divide: number,
  ): void;

  dot(a: Pointer, b: Pointer, count: number): number;
  dots_bf16(out: Pointer, inputs: Pointer, base: Pointer, vectors: number, count: number): void;
  census_f32(state: Pointer, base: Pointer, deltas: Pointer, stride: number, count: number): void;
  survey_census_bf16(state: Pointer, base: Pointer, inputs: Pointer, count: number): number;
  survey_dots_bf16(out: Pointer, inputs: Pointer, base: Pointer, vectors: number, count: number): number;
  survey_brackets_bf16(brackets: Pointer, operands: number, count: number, finite: number): number;
  used_slots(slots: Pointer, count: number, low: number, shift: number): number;
  l1(a: Pointer, count: number): number;
  max_abs(a: Pointer, count: number): number;
  nonzero(a: Pointer, count: number): number;
  bracket(
    /** u32 pairs of a key and a count. */
    slots: Pointer,
    x: Pointer,
    count: number,
    low: number,
    high: number,
    shift: number,
    hot: number,
  ): number;
  bracket_bf16(
    slots: Pointer,
    x: Pointer,
    base: Pointer,
    count: number,
    low: number,
    high: number,
    shift: number,
    hot: number,
  ): number;
  bracket_f32(
    slots: Pointer,
    x: Pointer,
    base: Pointer,
    count: number,
    low: number,
    high: number,
    shift: number,
    hot: number,
  ): number;
  sample_keys(x: Pointer, count: number): void;
  sample_bins(bins: Pointer, keys: Pointer, count: number): void;
  sample_above(
    /** u32, three for each piece. */
    counts: Pointer,
    keys: Pointer,
    pieces: number,
    length: number,
    first: number,
    second: number,
  ): void;
  sample_within(out: Pointer, keys: Pointer, count: number, bin: number): number;
  equals(x: Pointer, key: number, count: number): number;
  nth_equal(x: Pointer, key: number, n: number, count: number): number;
  rank_row(
    out: Pointer,
    /** 0: none. */
    other: Pointer,
    x: Pointer,
    /** A u32 for every rank; two, one behind the other, where there is an `other`. */
    table: Pointer,
    count: number,
    spare: Pointer,
  ): void;
  select_scaled(x: Pointer, mask: Pointer, factors: Pointer, count: number): void;
  same_bytes(a: Pointer, b: Pointer, byteCount: number): number;
  fold_row(out: Pointer, left: Pointer, right: Pointer, rank: number, pitch: number, count: number): void;
  fold_four(
    out: Pointer,
    outPitch: number,
    left: Pointer,
    right: Pointer,
    rank: number,
    pitch: number,
    count: number,
  ): void;

  contribute(
    out: Pointer,
    deltas: Pointer,
    boosts: Pointer,
    models: number,
    stride: number,
    epsilon: number,
    count: number,
  ): void;
  contributors(
    /** u32 pairs: alone, with others. */
    counts: Pointer,
    deltas: Pointer,
    models: number,
    stride: number,
    epsilon: number,
    count: number,
  ): void;
  largest(out: Pointer, deltas: Pointer, models: number, stride: number, count: number): void;
  unify(out: Pointer, deltas: Pointer, models: number, stride: number, count: number): void;
  consent(
    out: Pointer,
    total: Pointer,
    deltas: Pointer,
    lambdas: Pointer,
    models: number,
    stride: number,
    least: number,
    count: number,
  ): void;
  erase(
    out: Pointer,
    deltas: Pointer,
    weights: Pointer,
    models: number,
    stride: number,
    floor: number,
    count: number,
  ): void;
  variance(out: Pointer, deltas: Pointer, models: number, stride: number, count: number): void;
  dots_columns(sums: Pointer, a: Pointer, b: Pointer, first: number, length: number, count: number): void;
  scale_each(out: Pointer, x: Pointer, c: Pointer, count: number): void;
  axpy_each(acc: Pointer, x: Pointer, c: Pointer, count: number): void;
  count_signs(
    /** Two u32: above zero, below. */
    counts: Pointer,
    x: Pointer,
    count: number,
  ): void;
  agree_bits(bits: Pointer, x: Pointer, y: Pointer, count: number): number;
  axpy_bits(acc: Pointer, x: Pointer, bits: Pointer, firstBit: number, c: number, count: number): void;
  trim_by(x: Pointer, scores: Pointer, above: number, equalBefore: number, count: number): number;
  exp_f64(x: number): number;
  log_f64(x: number): number;
  importance(out: Pointer, x: Pointer, base: Pointer, columns: number, count: number): void;
  nearswap(out: Pointer, a: Pointer, b: Pointer, t: number, count: number): void;

  // 0, or 1 when an input or the output holds NaN or an infinity: the output is then to be thrown away.

  merge_linear_bf16(
    out: Pointer,
    inputs: Pointer,
    scales: Pointer,
    models: number,
    lambda: number,
    count: number,
  ): number;
  merge_linear_f32(
    out: Pointer,
    inputs: Pointer,
    scales: Pointer,
    models: number,
    lambda: number,
    count: number,
  ): number;
  merge_delta_bf16(
    out: Pointer,
    base: Pointer,
    inputs: Pointer,
    scales: Pointer,
    models: number,
    lambda: number,
    count: number,
  ): number;
  merge_delta_f32(
    out: Pointer,
    base: Pointer,
    inputs: Pointer,
    scales: Pointer,
    models: number,
    lambda: number,
    count: number,
  ): number;
  merge_dare_bf16(
    out: Pointer,
    base: Pointer,
    inputs: Pointer,
    scales: Pointer,
    /** u32 pointers, 0 for a model without a mask; a pointer of 0 for no masks at all. */
    masks: Pointer,
    models: number,
    lambda: number,
    count: number,
  ): number;
  merge_dare_f32(
    out: Pointer,
    base: Pointer,
    inputs: Pointer,
    scales: Pointer,
    masks: Pointer,
    models: number,
    lambda: number,
    count: number,
  ): number;
  merge_window_bf16(
    out: Pointer,
    base: Pointer,
    inputs: Pointer,
    scales: Pointer,
    /** u32 keys. */
    lows: Pointer,
    highs: Pointer,
    models: number,
    lambda: number,
    count: number,
  ): number;
  merge_elect_bf16(
    out: Pointer,
    base: Pointer,
    inputs: Pointer,
    scales: Pointer,
    /** u32 pointers, 0 for a model without a mask. */
    masks: Pointer,
    /** u32 keys, 0 for a model that is not trimmed. */
    above: Pointer,
    models: number,
    lambda: number,
    zero: number,
    divide: number,
    weights: Pointer,
    count: number,
  ): number;
  survey_window_bf16(
    out: Pointer,
    base: Pointer,
    inputs: Pointer,
    scales: Pointer,
    lows: Pointer,
    highs: Pointer,
    models: number,
    lambda: number,
    /** Four u32 for each model. */
    counts: Pointer,
    count: number,
  ): number;
  survey_elect_bf16(
    out: Pointer,
    base: Pointer,
    inputs: Pointer,
    scales: Pointer,
    above: Pointer,
    models: number,
    lambda: number,
    zero: number,
    divide: number,
    weights: Pointer,
    /** Two u32 for each model. */
    counts: Pointer,
    count: number,
  ): number;
  survey_elect_f32(
    out: Pointer,
    base: Pointer,
    inputs: Pointer,
    scales: Pointer,
    above: Pointer,
    models: number,
    lambda: number,
    zero: number,
    divide: number,
    weights: Pointer,
    /** Two u32 for each model. */
    counts: Pointer,
    count: number,
  ): number;
  merge_elect_f32(
    out: Pointer,
    base: Pointer,
    inputs: Pointer,
    scales: Pointer,
    masks: Pointer,
    above: Pointer,
    models: number,
    lambda: number,
    zero: number,
    divide: number,
    weights: Pointer,
    count: number,
  ): number;

  // Matrices in f64, row-major; strides and counts in elements.

  gemm_scratch(): number;
  gemm_f64(
    c: Pointer,
    cRow: number,
    a: Pointer,
    /** 1: `a` is f32. */
    aNarrow: number,
    aRow: number,
    aColumn: number,
    b: Pointer,
    bNarrow: number,
    bRow: number,
    bColumn: number,
    m: number,
    n: number,
    depth: number,
    factor: number,
    scratch: Pointer,
  ): void;
  dot_f64(a: Pointer, b: Pointer, count: number): number;
  axpy_f64(acc: Pointer, x: Pointer, factor: number, count: number): void;
  axpy_f64_f32(acc: Pointer, x: Pointer, factor: number, count: number): void;
  scale_f64(x: Pointer, factor: number, count: number): void;
  rotate_f64(x: Pointer, y: Pointer, c: number, s: number, count: number): void;
  symv_f64(y: Pointer, a: Pointer, stride: number, x: Pointer, n: number): void;
  transpose_f32(out: Pointer, outRow: number, input: Pointer, inRow: number, m: number, n: number): void;
  narrow_f64(out: Pointer, x: Pointer, count: number): void;
  fourier_step(
    y: Pointer,
    x: Pointer,
    n: number,
    p: number,
    s: number,
    twiddles: Pointer,
    back: number,
    corner: Pointer,
  ): void;
  multiply_complex(out: Pointer, a: Pointer, b: Pointer, count: number): void;

  // The forward pass of a Llama; x and out in f32.

  project_f32(out: Pointer, outPitch: number, x: Pointer, w: Pointer, rows: number, depth: number, count: number): void;
  project_bf16(out: Pointer, x: Pointer, w: Pointer, depth: number, count: number): void;
  rms_norm(out: Pointer, x: Pointer, weight: Pointer, epsilon: number, count: number): void;
  rotate_half(x: Pointer, cosines: Pointer, sines: Pointer, half: number): void;
  softmax(x: Pointer, scale: number, count: number): void;
  swiglu(gate: Pointer, up: Pointer, count: number): void;

  /** SHA-256: blocks of 64 bytes into the eight u32 at `state`. */
  sha256_blocks(state: Pointer, input: Pointer, blocks: number): void;
}

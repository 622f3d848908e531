// What a worker is told to do, as data. Methods emit programs; executors, workers and remote nodes know programs only.
//
// The normal form that carries most merge methods (w weight, s rescale, keep a selection, λ the scale of the sum):
//
//   out = base + λ · combine over terms i of ( w_i · s_i · keep_i( x_i − base ) )
//
// `base: null` leaves out the subtraction and the final addition (linear, SLERP: out = λ · Σ c_i · x_i).

import type { FloatDtype } from "../tensor/dtype.ts";
import type { CensusPart, CensusRound } from "./census-program.ts";
import type { FactorFacts, FactorProgram } from "./factor-program.ts";
import type { Lines } from "./lines.ts";
import type { Nanoseconds, TaskProfile } from "./phases.ts";
import type { UnifyFacts, UnifyProgram } from "./unify-program.ts";
import type { View } from "./view.ts";

/** A number, or the name of one that the method computes from its surveys before the program runs. */
export type Scalar = number | { readonly from: string };

/** The random drop of DARE: braid-mask-v1 (docs/mask.md). `threshold` is T = min(⌊p·2³² + ½⌋, 2³² − 1); 0 drops nothing. */
export interface RandomKeep {
  readonly key: readonly [number, number];
  readonly threshold: number;
  /** Left out: T. An element stays where its 32 bits lie in [start, start + 2³² − T) mod 2³². */
  readonly start?: number;
  /** Whole rows or columns of the tensor stay or drop: what is drawn for index j is the fate of line j. */
  readonly lines?: Lines;
}

/**
 * Keep by magnitude: the key of a value is the bits of |x| as u32, which order as |x| does. Keys above `above` stay; keys
 * equal to it stay at element indices from `equalFrom` (left out: 0) to below `equalBefore` (Number.MAX_SAFE_INTEGER: all of
 * them, 0: none). With a `top` it is a window: of what stays so far, what is above the top drops.
 */
export interface MagnitudeKeep {
  readonly above: Scalar;
  readonly equalBefore: Scalar;
  readonly equalFrom?: Scalar;
  readonly top?: MagnitudeTop;
}

/** Keys above `key` drop, and so do those equal to it from element index `equalBefore` on. NaN is above every key that stays. */
export interface MagnitudeTop {
  readonly key: Scalar;
  readonly equalBefore: Scalar;
}

/**
 * Keep within rows: each row of `columns` elements by itself, whatever the others hold. A worker has whole rows at hand, so no
 * survey is needed. Elements rank by magnitude in ascending order, equal ones by index.
 */
export interface RowKeep {
  readonly columns: number;
  readonly rule: RankRule | TopRule | ImportanceRule;
}

/**
 * Keep by importance (Arcee Fusion): |δ| times the divergence of the softmax of the row from that of the base's row. A survey's
 * operand is then the importance itself; a term keeps what `magnitude` keeps of it.
 */
export interface ImportanceRule {
  readonly op: "importance";
}

/**
 * The random drop of DELLA: the smallest of a row stays with probability density − epsilon, the largest with density + epsilon,
 * linear in the rank between. Drawn as braid-mask-v1 says for a probability for each element.
 */
export interface RankRule {
  readonly op: "rank";
  readonly key: readonly [number, number];
  readonly density: number;
  readonly epsilon: number;
  /** Multiply survivors by 1/(1 − T/2³²), T being the element's own threshold. */
  readonly rescale: boolean;
}

/** The largest of each row, or a window of its ranks: a `ThresholdOperand` says what the fields mean, n being the row's. */
export interface TopRule {
  readonly op: "top";
  readonly density: number;
  readonly of: "elements" | "nonzero";
  readonly rounding: "nearest" | "floor";
  readonly ties: "include" | "exact";
  readonly gamma?: number;
}

/** What survives of a delta. Several given: magnitude and rows see what the random drop left. */
export interface Keep {
  readonly random?: RandomKeep;
  readonly magnitude?: MagnitudeKeep;
  readonly rows?: RowKeep;
}

export interface Term {
  /** Index into the task's inputs. */
  readonly input: number;
  /** w_i. The product w_i · s_i is taken in f64 and rounded to f32 once. */
  readonly weight: Scalar;
  /** s_i, the rescale of what survived. */
  readonly scale: Scalar;
  readonly keep: Keep;
}

export const zeroSigns = ["drop", "positive", "negative"] as const;
export type ZeroSign = (typeof zeroSigns)[number];

export type Combine =
  | { readonly op: "sum" }
  | {
      readonly op: "elect";
      /** What the election sums: w·s·δ, s·δ, or the sign of δ. */
      readonly by: "weighted" | "unweighted" | "count";
      /** The elected sign where the sum is zero: none (the result is 0), + or −; by a scalar: its sign, 0 none. */
      readonly zero: ZeroSign | { readonly from: string };
      /** Divide the agreeing sum by the agreeing Σw (where that is below 1e-8: by 1), as TIES does. */
      readonly divide: boolean;
    }
  | Choice;

/**
 * Rules over s·keep(δ) of all terms at one element, called δ here. They need a base; what w_i means is up to the rule.
 *
 * - `contribute`: a term contributes where |δ| > epsilon. One alone gives w·δ, several give their mean.
 * - `largest`: the δ of the largest magnitude, the last one of equals.
 * - `unify`: the largest |δ| of those that have the sign of Σδ (− where that is zero), with this sign.
 * - `consent`: the total where `least` terms have |δ| > w·|total − δ|. The total is the sum of what `keep` leaves, or, with `elect`,
 *   the sum of those of it that have the elected sign.
 * - `erase`: Σ w·δ / max(floor, Σ w) over the δ with the sign of Σδ (+ where that is zero); with `select`, only where the variance
 *   of the δ over the terms is kept by it.
 * - `near`: of the only term, the value itself rather than its delta: w·x + (1 − w)·base with w = t / |x − base|, in [0, 1].
 */
export type Choice =
  | { readonly op: "contribute"; readonly epsilon: number }
  | { readonly op: "largest" }
  | { readonly op: "unify" }
  | { readonly op: "consent"; readonly least: number; readonly elect: boolean }
  | { readonly op: "erase"; readonly floor: number; readonly select?: Selection }
  | { readonly op: "near"; readonly t: number };

export interface MergeProgram {
  readonly op: "merge";
  /** Dtype of each input of the task. */
  readonly inputs: readonly FloatDtype[];
  readonly out: FloatDtype;
  /** Stochastic rounding on store, with words of Philox by this key and the element's index; absent: nearest even. */
  readonly rounding?: { readonly key: readonly [number, number] };
  /** The input that is subtracted from every term and added back, or null. */
  readonly base: number | null;
  readonly terms: readonly Term[];
  readonly combine: Combine;
  /** λ, in f32. */
  readonly lambda: Scalar;
  /** What the base is multiplied by before the sum is added to it. Default 1. */
  readonly baseWeight?: Scalar;
  /** A coefficient for each term and line, in which case `combine` is a sum. */
  readonly lines?: LineCoefficients;
}

/** c of term i at a line is `of[i]` at that line; it multiplies w_i · s_i in f64, and the product is rounded to f32 once. */
export interface LineCoefficients extends Lines {
  /** The line of the first coefficient. */
  readonly first: number;
  readonly of: readonly (Float32Array | { readonly from: string })[];
}

/** Integer and boolean tensors: the bytes of input 0 as they are; every other input must hold the same bytes. */
export interface CopyProgram {
  readonly op: "copy";
  readonly byteWidth: number;
}

/** What is done to the deltas of a whole matrix (docs/methods/). Sums of δ run in the order of the terms. */
export type MatrixRule =
  /** STAR: of each δ the first singular components that hold `share` of the nuclear norm, scaled to all of it; w·δ summed. */
  | { readonly op: "star"; readonly share: number }
  /** TSV-Merge: the first `rank` components of each w·δ, decorrelated. */
  | { readonly op: "tsv"; readonly rank: number }
  /**
   * Iso-C: the sum of w·δ with equal singular values. With `specific` > 0, Iso-CTS: `common` components of the sum and `specific`
   * of each w·δ.
   */
  | { readonly op: "isotropic"; readonly common: number; readonly specific: number }
  /**
   * FR-Merging: frequencies below `cutoff`·min(rows, columns)/2 bins are taken off each δ; their sum is weighted by w, or, with
   * `energy`, by the share of the mean |δ| that is left.
   */
  | { readonly op: "high-pass"; readonly cutoff: number; readonly energy: boolean };

/** out = base + λ · rule( x_i − base ), on all of a matrix: one task, whatever the slices. */
export interface MatrixProgram {
  readonly op: "matrix";
  readonly inputs: readonly FloatDtype[];
  readonly out: FloatDtype;
  readonly rows: number;
  readonly columns: number;
  readonly base: number;
  readonly terms: readonly { readonly input: number; readonly weight: number }[];
  readonly rule: MatrixRule;
  readonly lambda: number;
}

/** What a plan of a merge tells for a tensor. */
export type Program = MergeProgram | CopyProgram | MatrixProgram;

/** What a matrix program found out, by what it is about: one number a term, or one in all. */
export type MatrixFacts = Readonly<Partial<Record<MatrixFact, readonly number[]>>>;
export const matrixFactNames = ["rank", "share of components", "energy removed", "interference"] as const;
export type MatrixFact = (typeof matrixFactNames)[number];

/** What a survey looks at: a whole input, or its delta to the base, after a selection. */
export interface Operand {
  readonly input: number;
  readonly base: number | null;
  readonly keep: Keep;
  /** Given: not the delta, but the population variance of the deltas of these inputs, which `input` is one of. `keep` sees it. */
  readonly variance?: readonly number[];
  /** With `variance`: what is done to each of the deltas before, in the order of `variance`. */
  readonly thinned?: readonly Thinned[];
  /** Left out: 1. What survives is multiplied by it. */
  readonly scale?: number;
}

/** What is left of a delta, and what it is multiplied by. */
export interface Thinned {
  readonly keep: Keep;
  readonly scale: number;
}

/** A MagnitudeKeep without a window. */
export interface Selection {
  readonly above: Scalar;
  readonly equalBefore: Scalar;
}

/**
 * A pass that gathers a statistic before a program can run. Partial results of slices merge into the same bits in any
 * order: counts are integers, sums are kept per aligned block of 4,096 elements (per tile of whole rows where an operand is kept
 * by rows) and added in block order.
 *
 * - `dots`: for operands a ≤ b, Σ a·b in f64, the upper triangle row by row; with `lines`, of each line.
 * - `norms`: per operand Σ|x|, Σx² (f64), max|x| (f32) and the number of non-zero elements.
 * - `threshold`: per operand, the key of its k-th largest magnitude, or the keys at both ends of a window of ranks.
 * - `signs`: at how many elements an election over the operands gives + and −.
 * - `contributors`: per operand, elements where it alone is above `epsilon` in magnitude, and where others are too.
 */
export type Survey =
  | {
      readonly op: "dots";
      readonly inputs: readonly FloatDtype[];
      readonly operands: readonly Operand[];
      readonly lines?: Lines;
    }
  | {
      readonly op: "norms";
      readonly inputs: readonly FloatDtype[];
      readonly operands: readonly Operand[];
      /** Only elements whose variance over the operands this keeps. */
      readonly select?: Selection;
      /** Of all tensors of a model together. Then the survey is a tensor's first. */
      readonly scope?: "model";
    }
  | {
      readonly op: "contributors";
      readonly inputs: readonly FloatDtype[];
      readonly operands: readonly Operand[];
      readonly epsilon: number;
    }
  | {
      readonly op: "signs";
      readonly inputs: readonly FloatDtype[];
      readonly operands: readonly VoteOperand[];
      readonly by: ElectBy;
    }
  | {
      readonly op: "threshold";
      readonly inputs: readonly FloatDtype[];
      readonly operands: readonly ThresholdOperand[];
      /** The operands of one model in all tensors are ranked together. */
      readonly scope?: "model";
    };

export type ElectBy = Extract<Combine, { op: "elect" }>["by"];

/** The vote is weight · factor · what survives; the product of both in f64, rounded to f32 once. */
export interface VoteOperand extends Operand {
  readonly weight: number;
  readonly factor: Scalar;
}

export interface ThresholdOperand extends Operand {
  /** Fraction kept, in (0, 1]. */
  readonly density: number;
  /** k itself, of all elements; the key is exactly that of this rank, even where everything beyond it is zero. */
  readonly rank?: number;
  /** k counts all elements, or those that are not zero after `keep`. */
  readonly of: "elements" | "nonzero";
  /** k = max(1, round half up(d·n)), max(1, ⌊d·n⌋) as mergekit, or ⌊d·n⌋ in f32, which may be 0, as its SCE. */
  readonly rounding: "nearest" | "floor" | "truncate";
  /** Equal magnitudes at the threshold: keep all, or fill up to k with the lowest indices. */
  readonly ties: "include" | "exact";
  /**
   * γ, for a window (methods.md §7.3): the ⌊γ·n⌋ largest drop as well, or as many of them as leave K = max(1, ⌊d·n⌋), and the K
   * next stay. The order is ascending and of equal magnitudes the later index comes later, so that `exact` keeps exactly K.
   */
  readonly gamma?: number;
}

/** What became of non-finite inputs and of values too large for the output. */
export interface Policy {
  readonly nonFinite: "error" | "keep" | "base";
  readonly overflow: "error" | "saturate" | "inf";
}

/** Where the first byte of a tensor lies: an index into the job's list of files, and a byte offset. */
export interface Location {
  readonly file: number;
  readonly start: number;
}

/** An input of a task: a tensor as it lies in a file, or a view that is computed while it is read. */
export interface TaskInput extends Location {
  readonly view?: View;
}

/** A unit of work: elements [first, first + count) of one tensor. `first` is a multiple of the task's tile (`tileOf`). */
export interface MergeTask {
  readonly kind: "merge";
  readonly id: number;
  readonly first: number;
  readonly count: number;
  readonly inputs: readonly TaskInput[];
  readonly output: Location;
  readonly program: Program | FactorProgram | UnifyProgram;
  readonly policy: Policy;
  /** Of a merge program: what it reads is counted as well, for the thresholds that the program takes for granted. */
  readonly survey?: Extract<SurveyRound, { op: "histogram" }>;
}

/**
 * A slice of a survey. `threshold` surveys run in rounds. Most of them are `histogram`s: per operand, the number of keys at or
 * above `high`; what the keys in [low, high), low ≥ 1, are and how many of each, in slots of 2^shift keys; and the number of
 * non-zero elements, if asked for. `hot`, a key in the bracket (or `noKey`), is expected to be frequent. A `sample` before them
 * takes keys as they are. `exact` ties need `equals` too: the number of keys equal to `key` in each block, and `nth`, on one
 * block: the index in the tensor of the nth key (from 0) that equals `key`.
 */
export type SurveyRound =
  | { readonly op: "dots"; readonly operands: readonly Operand[]; readonly lines?: Lines }
  | { readonly op: "norms"; readonly operands: readonly Operand[]; readonly select?: Selection }
  | { readonly op: "contributors"; readonly operands: readonly Operand[]; readonly epsilon: number }
  | { readonly op: "signs"; readonly operands: readonly VoteOperand[]; readonly by: ElectBy }
  | { readonly op: "sample"; readonly operands: readonly Operand[] }
  | { readonly op: "histogram"; readonly operands: readonly HistogramOperand[] }
  | { readonly op: "equals"; readonly operands: readonly (Operand & { key: number })[] }
  | { readonly op: "nth"; readonly operands: readonly (Operand & { key: number; nth: number })[] }
  | CensusRound;

export interface HistogramOperand extends Operand {
  readonly low: number;
  readonly high: number;
  readonly shift: number;
  readonly hot: number;
  readonly nonzero: boolean;
}

/** No key, where a key could stand. Keys have 31 bits. */
export const noKey = 0xffffffff;
/** Set on the first key of a slot that stands for a slot of several keys. */
export const severalKeys = 0x80000000;

export interface SurveyTask {
  readonly kind: "survey";
  readonly id: number;
  readonly first: number;
  readonly count: number;
  readonly inputs: readonly TaskInput[];
  readonly dtypes: readonly FloatDtype[];
  readonly round: SurveyRound;
  /** Look at `pieceElements` elements from each of these on (multiples of 16) instead of at `count` from `first` on. */
  readonly pieces?: readonly number[];
  /** Or at so many: at most a tile. */
  readonly pieceLength?: number;
}

/** Slots of one operand of a histogram round, 8 bytes each: all keys take two rounds, of 2¹⁵ keys a slot and of one. */
export const maxSlots = 65_536;

/** Threshold surveys of tensors below this size start without a sample. */
export const sampledFrom = 2 ** 18;
/** Elements of a piece of a sample: 1 KiB of bf16, a quarter of the page that has to be read for it. */
export const pieceElements = 512;

export type Task = MergeTask | SurveyTask;

/** Non-finite elements of one input in a slice. */
export interface NonFinite {
  readonly input: number;
  readonly count: number;
  /** Index in the tensor. */
  readonly first: number;
}

export interface MergeReceipt {
  readonly kind: "merge";
  readonly id: number;
  /** What its `survey` has found. */
  readonly survey?: SurveyPart;
  readonly nonFinite: readonly NonFinite[];
  /** Values that overflowed on store, and the first one's index in the tensor (−1: none). */
  readonly overflow: { readonly count: number; readonly first: number };
  /** Elements kept, per term (only terms with a `keep` rule count; the others hold `count`). */
  readonly kept: readonly number[];
  /** Copy programs: the first input whose bytes differ from input 0's, or −1. */
  readonly differs: number;
  /** Matrix programs. */
  readonly facts?: MatrixFacts;
  readonly factored?: FactorFacts;
  readonly unified?: UnifyFacts;
  readonly nanoseconds: Nanoseconds;
  readonly profile?: TaskProfile;
}

export interface SurveyReceipt {
  readonly kind: "survey";
  readonly id: number;
  readonly nonFinite: readonly NonFinite[];
  readonly result: SurveyPart;
  readonly nanoseconds: Nanoseconds;
  readonly profile?: TaskProfile;
}

/** Part of a survey, from one slice. Arrays are per tile in element order, operand by operand. */
export type SurveyPart =
  /** [pair][block], or with lines [pair][part of a row] or [pair][column]. */
  | { readonly op: "dots"; readonly blocks: readonly Float64Array[] }
  | {
      readonly op: "norms";
      readonly l1: readonly Float64Array[];
      readonly l2: readonly Float64Array[];
      readonly max: readonly number[];
      readonly nonzero: readonly number[];
    }
  | { readonly op: "contributors"; readonly alone: readonly number[]; readonly shared: readonly number[] }
  | { readonly op: "signs"; readonly positive: number; readonly negative: number }
  | { readonly op: "sample" /** In the order of the pieces. */; readonly keys: readonly Uint32Array[] }
  | {
      readonly op: "histogram";
      readonly above: readonly number[];
      readonly nonzero: readonly number[];
      /** Pairs of a key (or `severalKeys` and the first key of the slot) and how many, slot by slot, without empty slots. */
      readonly bins: readonly Uint32Array[];
    }
  | { readonly op: "equals"; readonly blocks: readonly Uint32Array[] }
  | { readonly op: "nth"; readonly index: readonly number[] }
  | CensusPart;

export type Receipt = MergeReceipt | SurveyReceipt;

/** Elements per tile and per block of a reduction. Slices start at multiples of it, unless they need whole rows. */
export const tileElements = 4096;

/** Elements of a tile of whole rows: as many as fit an ordinary tile, at least one. */
export function rowTile(columns: number): number {
  return columns * Math.max(1, Math.floor(tileElements / columns));
}

/** Columns of the rows that these terms or operands are kept by; 0 where none is. */
export function rowColumns(users: readonly { readonly keep: Keep }[]): number {
  return users.find((u) => u.keep.rows)?.keep.rows?.columns ?? 0;
}

/** Elements per tile of a task with these terms or operands: rows must be whole where a rule works by rows. */
export function tileOf(users: readonly { readonly keep: Keep }[]): number {
  const columns = rowColumns(users);
  return columns > 0 ? rowTile(columns) : tileElements;
}

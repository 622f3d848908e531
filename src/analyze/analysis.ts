// What an analysis says of a base and its fine-tunes: plain data, as `braid analyze --json` prints it. docs/analyze.md has the formula
// and the source of every measure. δ is model − base in f32; "null" stands where a measure has no value, never NaN.

export interface Analysis {
  readonly format: "braid-analysis-1";
  readonly base: string;
  /** As they were named. Every `models` below is in this order, and every `a` and `b` are indices into it. */
  readonly models: readonly string[];
  /** Of the tensors that were analysed. */
  readonly parameters: number;
  readonly topShare: number;
  readonly lineage: Lineage;
  readonly whole: Group;
  /** In the order of `kinds`; those that no tensor is of are left out. */
  readonly kinds: readonly (Group & { readonly kind: TensorKind })[];
  /** Ascending by stack and number. Tensors outside of layers are in none of them. */
  readonly layers: readonly (Group & { readonly stack: string; readonly layer: number })[];
  /** In the order of the plan: by file and place. */
  readonly tensors: readonly TensorGroup[];
  /** One for each model; `braid analyze` says what is wrong with it. */
  readonly modelCypher: readonly ModelCypher[];
  readonly advice: Advice;
}

export const tensorKinds = [
  "attention q",
  "attention k",
  "attention v",
  "attention o",
  "attention",
  "mlp gate",
  "mlp up",
  "mlp down",
  "mlp",
  "router",
  "norm",
  "embedding",
  "head",
  "bias",
  "other",
] as const;
export type TensorKind = (typeof tensorKinds)[number];

export interface TensorGroup extends Group {
  readonly name: string;
  readonly shape: readonly number[];
  readonly kind: TensorKind;
  readonly stack: string | null;
  readonly layer: number | null;
}

/** The same measures of one tensor, a layer, a kind or all: of a group, over its elements as if they were one tensor. */
export interface Group {
  readonly tensors: number;
  readonly parameters: number;
  /** Of the base: ‖b‖, Σ|b|/n, and how many elements are NaN or infinite; those count as zeros here and in every δ. */
  readonly base: { readonly norm: number; readonly mean: number; readonly nonFinite: number };
  /** Null for a model that lacks the tensor. */
  readonly models: readonly (DeltaStats | null)[];
  /** Every a < b that both have. */
  readonly pairs: readonly PairStats[];
  /** Null for one model. */
  readonly together: Together | null;
}

/** Of one model's δ. n is the number of elements of the group that the model has. */
export interface DeltaStats {
  readonly count: number;
  /** Tensors without any change, and elements. */
  readonly identicalTensors: number;
  readonly zeros: number;
  /** NaN or infinite in the model; counted as zeros. */
  readonly nonFinite: number;
  /** Σ|δ|/n. */
  readonly mean: number;
  /** max|δ|. */
  readonly max: number;
  /** Of |δ|, unbiased (n − 1); null for one element. */
  readonly std: number | null;
  /** ‖δ‖, and ‖δ‖/√n. */
  readonly norm: number;
  readonly rms: number;
  /** ‖δ‖/‖base‖ over the elements that the model has; null where the base is zero. */
  readonly ratio: number | null;
  /** ‖δ‖² over the sum of all models', where not all are zero: dominance, and MetaGPT's λ. */
  readonly dominance: number | null;
  /** Share of |δ| < 0.01·max|δ|; 1 where all are zero. */
  readonly nearZero: Bounded;
  /** |δ| at rank ⌊q·n⌋ in ascending order. */
  readonly quantiles: Readonly<Record<QuantileName, number>>;
  /** The quantiles are off by at most this share of themselves: 0 or 2⁻⁷. */
  readonly quantileError: number;
  readonly magnitudes: Magnitudes;
  /** Of the whole and of kinds only. */
  readonly signed?: Signed;
}

export const quantiles = {
  p01: 0.01,
  p05: 0.05,
  p25: 0.25,
  p50: 0.5,
  p75: 0.75,
  p90: 0.9,
  p95: 0.95,
  p99: 0.99,
  p999: 0.999,
} as const;
export type QuantileName = keyof typeof quantiles;

/** A number, and bounds that hold the exact one; all three are equal where it is exact. */
export interface Bounded {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** How many |δ| are in [2^e, 2^(e+1)), for e = first, first + 1, …; exact zeros are in `zeros`. Empty where all are zero. */
export interface Magnitudes {
  readonly first: number;
  readonly counts: readonly number[];
}

/**
 * How many δ/rms are in [−range + i·width, −range + (i + 1)·width), exact zeros left out; what is beyond the range is in `below` and
 * `above`. Elements within 2⁻⁷ of an edge, relatively, may be on its other side. Null where all are zero.
 */
export interface Signed {
  readonly range: number;
  readonly width: number;
  readonly counts: readonly number[];
  readonly below: number;
  readonly above: number;
  readonly negative: number;
  readonly positive: number;
}

/** Of the elements that both models have. */
export interface PairStats {
  readonly a: number;
  readonly b: number;
  readonly dot: number;
  /** δa·δb/(‖δa‖‖δb‖); null where one is zero. */
  readonly cosine: number | null;
  /** Elements that both change, and the share of them that they move apart. */
  readonly bothChange: number;
  readonly conflict: number | null;
  /** arccos(cosine)/π: what Gaussian deltas of this cosine have; and what the conflict is above it. */
  readonly conflictExpected: number | null;
  readonly conflictExcess: number | null;
  /** Elements that are among the `topShare` largest of both over those of either (Jaccard), tensor by tensor. */
  readonly overlap: number | null;
  /** What masks of these shares have by chance, and what the overlap is above it. */
  readonly overlapExpected: number | null;
  readonly overlapExcess: number | null;
  /** Share of elements that the masks really keep, of a and of b: thresholds of large tensors come from a sample. */
  readonly topShares: readonly [number, number];
}

/** Of the elements that any model changes. */
export interface Together {
  /** Elements by how many models change them: none, one, two, … */
  readonly changedBy: readonly number[];
  /** Mean of |n₊ − n₋|/(n₊ + n₋), 1 where none changes. */
  readonly signAgreement: number;
  /** Share of elements where some go up and some down. */
  readonly mixed: number;
  /** Σ|Σδ| / ΣΣ|δ|; null where nothing changes. Interference is 1 − it. */
  readonly massAgreement: number | null;
  readonly interference: number | null;
  /** The largest ‖δ‖ over the smallest that is not zero. */
  readonly imbalance: number | null;
}

export interface Lineage {
  readonly models: readonly {
    readonly model: number;
    /** "checkpoint" or "adapter". */
    readonly stored: "checkpoint" | "adapter";
    readonly tensors: number;
    readonly identical: number;
    /** Tensors of the base that the model lacks. */
    readonly missing: readonly string[];
    /** ‖δ‖/‖base‖ over matrices; unrelated weights of one scale are √2 apart. */
    readonly distance: number | null;
    /** "identical" to the base, "descendant", "doubtful" from 0.5 on. */
    readonly verdict: "identical" | "descendant" | "doubtful";
  }[];
  /** Pairs of models that may be the same fine-tune (cosine above 0.98). */
  readonly duplicates: readonly { readonly a: number; readonly b: number; readonly cosine: number }[];
  /** Integer and boolean tensors, and those that were filtered out. */
  readonly leftOut: readonly string[];
}

/**
 * ModelCypher's `dare_sparsity` (methods of its names), of one model. Its threshold is the larger of 1 % of max|δ| and the 95th
 * percentile, so that effective sparsity is at least 0.95 whatever the deltas are: `defect` says so.
 */
export interface ModelCypher {
  readonly configuration: {
    readonly sparsityThreshold: number;
    readonly droppablePercentile: number;
    readonly computePerLayerMetrics: boolean;
  };
  readonly totalParameters: number;
  readonly nonZeroParameters: number;
  readonly effectiveSparsity: number;
  readonly essentialFraction: number;
  readonly threshold: number;
  readonly recommendedDropRate: number;
  readonly mergeReadiness: "too_sparse" | "ready" | "needs_more_training";
  readonly qualityAssessment: "excellentForMerging" | "good" | "moderate" | "dense" | "concerninglyDense";
  readonly magnitudeStats: {
    readonly mean: number;
    readonly standardDeviation: number;
    readonly median: number;
    readonly max: number;
    readonly minNonZero: number;
    readonly percentile1: number;
    readonly percentile5: number;
    readonly percentile95: number;
    readonly percentile99: number;
  };
  readonly perLayerSparsity: readonly {
    readonly layerName: string;
    readonly parameterCount: number;
    readonly sparsity: number;
    readonly meanMagnitude: number;
    readonly maxMagnitude: number;
    readonly essentialFraction: number;
    readonly hasSignificantUpdates: boolean;
    readonly importance: number;
    readonly canDrop: boolean;
  }[];
  /** The largest share that may be wrong of a sparsity: of the elements in the threshold's bin. */
  readonly sparsityError: number;
  readonly defect: string;
}

/** What to begin with, and why. */
export interface Advice {
  /** DARE's verdict on mean |δ|, one for each model. */
  readonly classes: readonly DeltaClass[];
  readonly method: string;
  /** p of the methods that drop; null for others. */
  readonly dropRate: number | null;
  /** Values to try. */
  readonly sweep: readonly number[];
  /** One weight for each model, and λ. */
  readonly weights: readonly number[];
  readonly lambda: number;
  /** Drop rates of some tensors, by substrings of their names. */
  readonly filters: readonly { readonly filter: string; readonly dropRate: number }[];
  /** Models to leave out, as indices. */
  readonly leaveOut: readonly number[];
  readonly reasons: readonly Reason[];
}

export const deltaClasses = ["none", "small", "caution", "large"] as const;
export type DeltaClass = (typeof deltaClasses)[number];

export interface Reason {
  /** The name that docs/analyze.md has for the rule. */
  readonly rule: string;
  readonly about: "base" | "class" | "models" | "method" | "drop rate" | "weights" | "filters";
  readonly level: "note" | "warning";
  /** What was found, with the number, and what follows. */
  readonly text: string;
  readonly source: string;
}

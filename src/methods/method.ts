// What a merge method is: its parameters, the surveys it needs, and the program it emits. Everything else (reading, masks,
// slices, workers, nodes) is the same for all of them.

import type { MatrixProgram, MergeProgram, Survey } from "../kernel/program.ts";
import type { MethodSpec } from "../recipe/catalogue.ts";
import type { FloatDtype } from "../tensor/dtype.ts";

/** One input of one output tensor, in the recipe's order. */
export interface MethodInput {
  /** Index into the task's inputs. */
  readonly input: number;
  readonly dtype: FloatDtype;
  /** For messages. */
  readonly model: string;
  readonly isBase: boolean;
  /** Counts the recipe's non-base models from 0, whether or not they hold this tensor; −1 for the base. */
  readonly modelIndex: number;
  /** The recipe's parameters for this input, resolved for this tensor. */
  readonly parameters: Readonly<Record<string, unknown>>;
}

/** What a method compiles: one output tensor. */
export interface MethodTensor {
  /** Output name: what the random masks are keyed with. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly count: number;
  /** Holders of the tensor. Models that lack it are left out. */
  readonly inputs: readonly MethodInput[];
  readonly out: FloatDtype;
  readonly parameters: Readonly<Record<string, unknown>>;
  /** Decimal digits. */
  readonly seed: string;
  /** Follow mergekit 0.1.5 where it differs from the papers. */
  readonly mergekit: boolean;
  /** Non-base models of the recipe, holders or not. */
  readonly models: number;
}

export interface Compiled {
  /** In the order they must run: a later one may use scalars that `solve` made of earlier ones. */
  readonly surveys: readonly Survey[];
  readonly program: MergeProgram | MatrixProgram;
  /** What must be the same in all tensors, by name, because a survey ranks them together. */
  readonly shared?: Readonly<Record<string, number | string>>;
  /** JSON that `solve` is given back. */
  readonly solve: Readonly<Record<string, unknown>>;
  /** What to tell the user once, e.g. that a parameter has no effect. */
  readonly notes: readonly string[];
  /** The only input as it is: where its dtype is the output's, its bytes are copied. */
  readonly copies?: boolean;
  /** The output does not have this tensor. */
  readonly omit?: boolean;
}

/** The outcome of a survey. */
export type SurveyResult =
  | {
      readonly op: "dots";
      /** Upper triangle, row by row. Of a survey of lines: none. */
      readonly dots: readonly number[];
      /** [pair][line] */
      readonly lines?: readonly Float64Array[];
    }
  | {
      readonly op: "norms";
      readonly norms: Norms;
      /** Of a survey of all tensors: Σx² of every model, whether or not it holds this tensor. */
      readonly squares?: readonly number[];
    }
  | {
      readonly op: "contributors";
      /** Per operand: elements that it alone has changed, and those that others have changed too. */
      readonly contributors: readonly { readonly alone: number; readonly shared: number }[];
    }
  /** Elements with an elected sign, over all tensors that ask. */
  | { readonly op: "signs"; readonly positive: number; readonly negative: number }
  | { readonly op: "threshold"; readonly thresholds: readonly Threshold[] };

/** Σ|x|, Σx², max|x| and the number of non-zero elements, operand by operand. */
export type Norms = readonly {
  readonly l1: number;
  readonly l2: number;
  readonly max: number;
  readonly nonzero: number;
}[];

/** What of an operand stays: the numbers of a MagnitudeKeep. */
export interface Threshold {
  /** The bits of the smallest magnitude that stays. */
  readonly key: number;
  readonly equalBefore: number;
  /** Of a window: equal keys stay from this index on, and its other end. */
  readonly equalFrom?: number;
  readonly top?: { readonly key: number; readonly equalBefore: number };
  /** Elements kept by that rule; null where they were counted for the model as a whole. */
  readonly kept: number | null;
}

/** Scalars, and coefficients of lines, by the names that the program uses. */
export type Solved = Record<string, number | Float32Array>;

export interface Method extends MethodSpec {
  readonly paper: string;
  compile(tensor: MethodTensor): Compiled;
  /** Turns survey results into the scalars that the program names. Given the surveys that are in, which may be the first few. */
  solve?(solve: Readonly<Record<string, unknown>>, results: readonly SurveyResult[]): Solved;
  /** What to tell about a tensor whose surveys are all in; tensors of one remark are counted together. */
  remark?(solve: Readonly<Record<string, unknown>>, results: readonly SurveyResult[]): string | null;
  /** Whether an only input with these parameters stays as it is, so that any dtype of whole bytes will do. */
  copies?(parameters: Readonly<Record<string, unknown>>): boolean;
}

/** Σ w and what to divide by: below 1e-8 mergekit silently divides by 1; Braid refuses. */
export const smallestWeightSum = 1e-8;

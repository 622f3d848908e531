// What a worker is told to make an adapter of a weight's delta, as data.

import type { FloatDtype } from "../tensor/dtype.ts";
import type { Location } from "./program.ts";

/**
 * A delta as an adapter: ΔW ≈ scale·B·A with A [rank, in] and B [out, rank]. One task a matrix, whatever the slices; the task's output
 * is where A goes.
 *
 * - `delta`: the first components of input 1 − input 0, both `rows` × `columns`. With `sketch`, of its part in the range that so many
 *   random directions find; exact without. `transposed`: weights lie as [in, out].
 * - `pairs`: of Σ coefficient·B_i·A_i; inputs are A_0, B_0, A_1, … Pairs of together no more than `rank` are put side by side.
 */
export interface FactorProgram {
  readonly op: "factor";
  readonly inputs: readonly FloatDtype[];
  readonly out: FloatDtype;
  /** Of the weight as it is stored; of pairs [out, in]. */
  readonly rows: number;
  readonly columns: number;
  readonly rank: number;
  /** α / r of the adapter. */
  readonly scale: number;
  readonly transposed: boolean;
  /** Where B goes. */
  readonly b: Location;
  readonly source:
    | { readonly op: "delta"; readonly sketch: Sketch | null }
    | { readonly op: "pairs"; readonly pairs: readonly { readonly rank: number; readonly coefficient: number }[] };
}

/** Random directions, of signs from Philox by this key. */
export interface Sketch {
  readonly key: readonly [number, number];
  readonly directions: number;
}

/** What a factor program found: ‖ΔW‖², how much of it the factors hold, and how many components they have. */
export interface FactorFacts {
  readonly energy: number;
  readonly kept: number;
  readonly rank: number;
}

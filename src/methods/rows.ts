// What methods that work by rows share.

import { maskKey } from "../kernel/mask.ts";
import type { Keep, RowKeep, ThresholdOperand } from "../kernel/program.ts";
import type { MethodSpec } from "../recipe/catalogue.ts";
import type { MethodInput, MethodTensor } from "./method.ts";
import { defaultEpsilon } from "./parameters.ts";
import { numberOf } from "./weights.ts";

/**
 * Columns of a tensor's rows. Vectors and scalars are one row; more than two dimensions are [first, all others], so that a
 * convolution's filter or an expert is a row (methods.md §12.1).
 */
export function columnsOf(tensor: MethodTensor): number {
  const rows = tensor.shape.length < 2 ? 1 : tensor.shape[0]!;
  return Math.max(1, rows === 0 ? 0 : tensor.count / rows);
}

/** DELLA's window of probabilities must lie within (0, 1). Densities of 0 and of 1 and above need none. */
export const epsilonFits: NonNullable<MethodSpec["check"]> = (_, inputs) =>
  inputs.flatMap(({ density: d, epsilon: e = defaultEpsilon }, input) =>
    typeof d !== "number" || typeof e !== "number" || d <= 0 || d >= 1 || (d - e > 0 && d + e < 1)
      ? []
      : [
          {
            parameter: "epsilon",
            input,
            message: `epsilon must leave density ± epsilon within (0, 1), found ${d} ± ${e}: use less than ${Number(Math.min(d, 1 - d).toPrecision(12))}`,
          },
        ],
  );

/** DELLA's random drop of one model. `rescale`: survivors are divided by their own probability of staying. */
export function rankKeep(tensor: MethodTensor, input: MethodInput, density: number, rescale: boolean): Keep {
  const epsilon = numberOf({ ...tensor, parameters: input.parameters }, "epsilon", defaultEpsilon);
  const key = maskKey(tensor.seed, input.modelIndex, tensor.name);
  return { rows: { columns: columnsOf(tensor), rule: { op: "rank", key, density, epsilon, rescale } } };
}

/** A trim or a window of a whole tensor, done in each of its rows. */
export function topOfRows(tensor: MethodTensor, trim: ThresholdOperand): RowKeep {
  const { density, of, ties, gamma } = trim;
  const rounding = trim.rounding === "nearest" ? "nearest" : "floor";
  const rule = { op: "top", density, of, rounding, ties, ...(gamma === undefined ? {} : { gamma }) } as const;
  return { columns: columnsOf(tensor), rule };
}

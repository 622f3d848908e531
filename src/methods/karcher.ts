import {
  type Coefficients,
  compileAlone,
  compileCombination,
  cosines,
  type Gram,
  solvedBy,
  squaredNorm,
} from "./combination.ts";
import type { Compiled, Method, MethodTensor } from "./method.ts";
import { weightParameter } from "./parameters.ts";
import { acos, sin } from "./trig.ts";
import { numberOf, weightSum, weightsOf } from "./weights.ts";

/**
 * The point of the sphere with the least weighted sum of squared angles to the models' directions, as long as the weighted
 * mean of their lengths (Karcher 1977). Every step of the iteration stays in the span of the directions, so it runs on
 * coefficients with the f64 Gram matrix, and the tensors are read twice whatever the number of steps.
 */
export const karcher: Method = {
  name: "karcher",
  title: "Karcher mean",
  paper: "https://doi.org/10.1002/cpa.3160300502",
  base: "none",
  baseIsInput: true,
  minModels: 2,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [
    weightParameter,
    {
      name: "max_iter",
      kind: "number",
      per: "tensor",
      default: 10,
      integer: true,
      min: 0,
      describe: "Most iterations.",
    },
    {
      name: "tol",
      kind: "number",
      per: "tensor",
      default: 1e-5,
      min: 0,
      describe: "Stop below this step, in radians.",
    },
  ],
  compile(tensor: MethodTensor): Compiled {
    const models = tensor.inputs;
    if (models.length < 2) return compileAlone(tensor, models[0]!);
    const given = weightsOf(tensor, models, 1);
    const sum = weightSum(tensor, given);
    return compileCombination(tensor, models, null, {
      weights: given.map((w) => w / sum),
      steps: numberOf(tensor, "max_iter", 10),
      tol: numberOf(tensor, "tol", 1e-5),
      mergekit: tensor.mergekit,
    });
  },
  ...solvedBy((gram, { weights, steps, tol, mergekit }) =>
    karcherWeights(gram, weights as readonly number[], steps as number, tol as number, mergekit === true),
  ),
};

const cos = (x: number): number => sin(x + Math.PI / 2);
const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
const scaled = (a: readonly number[], c: number) => a.map((x) => x * c);

/** Coefficients of the vectors as they are. mergekit leaves out of the mean direction what is not longer than `tol`. */
export function karcherWeights(
  gram: Gram,
  weights: readonly number[],
  steps: number,
  tol: number,
  mergekit: boolean,
): Coefficients {
  const norms = gram.map((row, i) => Math.sqrt(row[i]!));
  const smallest = mergekit ? tol : 0;
  const angles = cosines(gram, smallest);
  const directed = norms.map((n) => n > smallest);
  const total = weights.reduce((sum, w, i) => (directed[i] ? sum + w : sum), 0);
  if (!directed.includes(true) || total === 0) return { of: weights.map(() => 0) };
  const alphas = weights.map((w, i) => (directed[i] ? w / total : 0));

  // x = Σ a_i u_i, on the unit sphere. Directions that cancel leave no mean to start from: start at the first of them.
  let x: readonly number[] = alphas;
  const length = Math.sqrt(squaredNorm(angles, x));
  x =
    length < tol || length === 0 ? norms.map((_, i) => (i === directed.indexOf(true) ? 1 : 0)) : scaled(x, 1 / length);
  for (let step = 0; step < steps; step++) {
    // The logarithms at x, added up: Σ α θ/sin θ (u − cos θ · x).
    const tangent = x.map(() => 0);
    let along = 0;
    for (const [i, alpha] of alphas.entries()) {
      if (!directed[i]) continue;
      const cosine = Math.max(-1, Math.min(1, dot(angles[i]!, x)));
      const angle = acos(cosine);
      // At x there is nowhere to go; opposite to it every way is as good as the next.
      if (angle < tol || Math.PI - angle < 1e-9) continue;
      const factor = (alpha * angle) / sin(angle);
      tangent[i]! += factor;
      along += factor * cosine;
    }
    const g = tangent.map((t, i) => t - along * x[i]!);
    const size = Math.sqrt(squaredNorm(angles, g));
    if (size < tol || size === 0) break;
    const [stay, move] = [cos(size), sin(size) / size];
    x = x.map((a, i) => stay * a + move * g[i]!);
    x = scaled(x, 1 / Math.sqrt(squaredNorm(angles, x)));
  }
  const radius = norms.reduce((sum, n, i) => sum + weights[i]! * n, 0);
  return { of: x.map((a, i) => (directed[i] ? (a / norms[i]!) * radius : 0)) };
}

import { fail, quote } from "../errors.ts";
import { dareOf, dareParameters } from "./dare.ts";
import type { Compiled, Method, MethodTensor } from "./method.ts";
import { lambdaParameter } from "./parameters.ts";
import { choiceOf, numberOf } from "./weights.ts";

/**
 * Task arithmetic with weights from the models alone: λ_t = ‖δ_t‖² / Σ_s ‖δ_s‖², norms over the whole model (Zhou et al. 2024,
 * arXiv 2406.11385).
 */
export const metagpt: Method = {
  name: "metagpt",
  title: "MetaGPT",
  paper: "https://arxiv.org/abs/2406.11385",
  base: "required",
  baseIsInput: false,
  minModels: 1,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [
    {
      name: "scope",
      kind: "choice",
      per: "tensor",
      choices: ["model", "tensor"],
      describe: "Norms of all merged tensors of a model (the paper, and the default), or of each tensor by itself.",
    },
    lambdaParameter,
    ...dareParameters,
  ],
  compile(tensor: MethodTensor): Compiled {
    const base = tensor.inputs.find((i) => i.isBase);
    if (!base) {
      fail(
        "tensor-missing",
        `Cannot merge ${quote(tensor.name)}: the base model does not have it, so there is no delta`,
      );
    }
    const models = tensor.inputs.filter((i) => !i.isBase);
    const inputs = tensor.inputs.map((i) => i.dtype);
    const ofModel = choiceOf(tensor, "scope", ["model", "tensor"] as const, "model") === "model";
    // The weights are those of the whole deltas: a random drop keeps what a delta is worth in expectation.
    const operands = models.map((m) => ({ input: m.input, base: base.input, keep: {} }));
    const terms = models.map((m, i) => ({
      input: m.input,
      weight: { from: `weight.${i}` },
      ...dareOf(tensor, m, base),
    }));
    return {
      surveys: models.length > 0 ? [{ op: "norms", inputs, operands, ...(ofModel ? { scope: "model" } : {}) }] : [],
      program: {
        op: "merge",
        inputs,
        out: tensor.out,
        base: base.input,
        terms,
        combine: { op: "sum" },
        lambda: numberOf(tensor, "lambda", 1),
      },
      solve: { models: tensor.models },
      notes: [],
    };
  },
  solve({ models }, [survey]) {
    if (survey?.op !== "norms") return {};
    const own = survey.norms.map((n) => n.l2);
    const total = (survey.squares ?? own).reduce((sum, x) => sum + x, 0);
    // Nothing changed in any model: what the weights are does not matter.
    const weights = own.map((x) => (total > 0 ? x / total : 1 / (models as number)));
    return Object.fromEntries(weights.map((w, i) => [`weight.${i}`, w]));
  },
};

import { compileAlone } from "./combination.ts";
import type { Compiled, Method, MethodTensor } from "./method.ts";
import { finite } from "./weights.ts";

/**
 * One model as it is, or slices of several stacked on each other (depth up-scaling, Kim et al. 2023, arXiv 2312.15166); times
 * `scale`. The bytes of a tensor that nothing changes are copied, whatever its dtype.
 */
export const passthrough: Method = {
  name: "passthrough",
  title: "Passthrough",
  paper: "https://arxiv.org/abs/2312.15166",
  base: "none",
  baseIsInput: true,
  minModels: 1,
  maxModels: 1,
  implemented: true,
  copies: (input) => (input.scale ?? 1) === 1,
  parameters: [
    { name: "scale", kind: "number", per: "model", default: null, describe: "Multiplies the tensor; 1 copies it." },
  ],
  compile(tensor: MethodTensor): Compiled {
    const [model] = tensor.inputs;
    const alone = compileAlone(tensor, model!);
    const scale = finite(tensor, model!, "scale") ?? 1;
    return { ...alone, copies: scale === 1, program: { ...alone.program, lambda: scale } };
  },
};

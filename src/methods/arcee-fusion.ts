import type { MergeProgram, ThresholdOperand } from "../kernel/program.ts";
import type { Compiled, Method, MethodTensor, SurveyResult } from "./method.ts";

/** Of n elements in ascending order, the one at ⌊q·(n − 1)⌋. */
const quartiles = [0.25, 0.5, 0.75];
const reach = 1.5;

/**
 * Arcee Fusion: takes over from the other model what matters. An element's importance is |x − base| times the divergence of the
 * softmax of its row from the base's; elements at or above median + 1.5·(third − first quartile) of their tensor become the other
 * model's. A row runs along the last dimension; a tensor of one dimension is one row.
 */
export const arceeFusion: Method = {
  name: "arcee_fusion",
  title: "Arcee Fusion",
  paper: "https://arcee.ai",
  base: "required",
  baseIsInput: true,
  minModels: 2,
  maxModels: 2,
  implemented: true,
  parameters: [],
  compile(tensor: MethodTensor): Compiled {
    const inputs = tensor.inputs.map((i) => i.dtype);
    const base = tensor.inputs.find((i) => i.isBase);
    const other = tensor.inputs.find((i) => !i.isBase);
    const program = (terms: MergeProgram["terms"], from: number | null): MergeProgram => ({
      op: "merge",
      inputs,
      out: tensor.out,
      base: from,
      terms,
      combine: { op: "sum" },
      lambda: 1,
    });
    const whole = { weight: 1, scale: 1, keep: {} };
    const columns = tensor.shape.at(-1) ?? 1;
    // Only one model has the tensor, or every softmax is 1 and nothing diverges, so that all is at the threshold of 0.
    const only = other ?? base!;
    if (!base || !other || columns <= 1) {
      return { surveys: [], program: program([{ input: only.input, ...whole }], null), solve: {}, notes: [] };
    }
    const rows = { columns, rule: { op: "importance" } } as const;
    const operand = { input: other.input, base: base.input, keep: { rows } };
    const operands = quartiles.map((q): ThresholdOperand => {
      const rank = tensor.count - Math.floor(q * (tensor.count - 1));
      return { ...operand, density: 1, rank, of: "elements", rounding: "floor", ties: "include" };
    });
    const magnitude = { above: { from: "above" }, equalBefore: Number.MAX_SAFE_INTEGER };
    return {
      surveys: [{ op: "threshold", inputs, operands }],
      program: program([{ input: other.input, weight: 1, scale: 1, keep: { rows, magnitude } }], base.input),
      solve: {},
      notes: [],
    };
  },
  solve(_, [survey]: readonly SurveyResult[]): Record<string, number> {
    if (survey?.op !== "threshold") return {};
    const bits = new Uint32Array(survey.thresholds.map((t) => t.key as number));
    const [first, median, third] = new Float32Array(bits.buffer) as unknown as [number, number, number];
    // In f32, as every step before it.
    const limit = Float32Array.of(median + Math.fround(reach * Math.fround(third - first)));
    return { above: new Uint32Array(limit.buffer)[0]! };
  },
};

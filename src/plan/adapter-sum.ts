// Merges that only add up adapters of one base: their delta is Σ coefficient·B·A, which an adapter can hold without a product ever
// being made. Pure: read off the plan, so every method and recipe that comes down to such a sum is one.

import type { AdapterFactor } from "../kernel/adapter.ts";
import type { MergeProgram, TaskInput } from "../kernel/program.ts";
import type { AdaptedModule } from "./adapter.ts";
import type { Plan, PlanTensor } from "./plan.ts";

/** Coefficients of an average, which come from f64 and f32, add up to 1 this closely. */
const tolerance = 1e-6;

/** The modules of the merged adapter, or null where the merge is more than a sum of adapters. `transposed`: as the base's layers lie. */
export function adapterSums(plan: Plan, transposed: boolean): AdaptedModule[] | null {
  const modules: AdaptedModule[] = [];
  for (const tensor of plan.tensors) {
    const sum = tensor.program.op === "merge" ? sumOf(plan, tensor, tensor.program) : unchanged(plan, tensor);
    if (sum === null) return null;
    if (sum.length === 0) continue;
    const linear = tensor.shape.length === 2 && tensor.name.endsWith(".weight");
    if (!linear || sum.some((s) => s.factor.transposed !== transposed || s.factor.b === null)) return null;
    // An embedding is stored transposed wherever layers are not, so that what is left is GPT-2's.
    if (/(^|\.)(wte|wpe|lm_head)\.weight$/.test(tensor.name)) return null;
    modules.push({
      path: tensor.name.replace(/\.weight$/, ""),
      shape: [tensor.shape[0]!, tensor.shape[1]!],
      inputs: sum.flatMap(({ factor }) => [factor.a, factor.b!]),
      pairs: sum.map(({ factor, weight }) => ({ rank: factor.rank, coefficient: weight * factor.scale })),
    });
  }
  return modules.length > 0 ? modules : null;
}

interface Part {
  readonly factor: AdapterFactor;
  readonly weight: number;
}

/** Where a tensor lies, whichever of the models it was opened for; null for a view. */
function placeOf(plan: Plan, { file, start, view }: TaskInput): string | null {
  return view ? null : `${start} ${plan.inputFiles[file]!.location}`;
}

function unchanged(plan: Plan, { inputs }: PlanTensor): Part[] | null {
  const places = new Set(inputs.map((i) => placeOf(plan, i)));
  return places.size === 1 && !places.has(null) ? [] : null;
}

function sumOf(plan: Plan, { inputs }: PlanTensor, program: MergeProgram): Part[] | null {
  const { base, terms, combine, lambda, baseWeight = 1, lines, rounding } = program;
  if (combine.op !== "sum" || lines || rounding || typeof lambda !== "number" || baseWeight !== 1) return null;
  const parts: Part[] = [];
  const places = new Set<string | null>();
  if (base !== null) places.add(placeOf(plan, inputs[base]!));
  let total = 0;
  for (const { input, weight, scale, keep } of terms) {
    if (typeof weight !== "number" || typeof scale !== "number" || Object.keys(keep).length > 0) return null;
    const own = inputs[input]!;
    const c = lambda * weight * scale;
    total += c;
    if (own.view?.op !== "adapter") {
      places.add(placeOf(plan, own));
      continue;
    }
    if (own.view.magnitude || own.view.round) return null;
    places.add(placeOf(plan, own.view.weight));
    for (const factor of own.view.factors) {
      if (factor.a.view || factor.b?.view) return null;
      parts.push({ factor, weight: c });
    }
  }
  // Without a base to add to, the coefficients must leave one of it.
  if (base === null && Math.abs(total - 1) > tolerance) return null;
  return places.size === 1 && !places.has(null) ? parts : null;
}

// Methods of mergekit that Braid knows by name and parameters but does not carry out yet: their recipes parse, and the refusal
// says what is missing instead of "unknown method".

import type { MethodSpec, ParameterSpec } from "../recipe/catalogue.ts";

const many = Number.POSITIVE_INFINITY;

function flag(name: string, fallback: boolean, describe: string): ParameterSpec {
  return { name, kind: "boolean", per: "tensor", default: fallback, describe };
}

function spec(
  name: string,
  title: string,
  base: MethodSpec["base"],
  baseIsInput: boolean,
  minModels: number,
  maxModels: number,
  parameters: readonly ParameterSpec[],
): MethodSpec {
  return { name, title, base, baseIsInput, minModels, maxModels, parameters, implemented: false };
}

export const planned: readonly MethodSpec[] = [
  spec("arcee_fusion", "Arcee Fusion", "required", true, 2, 2, []),
];

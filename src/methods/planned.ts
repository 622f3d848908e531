// Methods of mergekit that Braid knows by name and parameters but does not carry out yet: their recipes parse, and the refusal
// says what is missing instead of "unknown method".

import type { MethodSpec } from "../recipe/catalogue.ts";

export const planned: readonly MethodSpec[] = [
  {
    name: "arcee_fusion",
    title: "Arcee Fusion",
    base: "required",
    baseIsInput: true,
    minModels: 2,
    maxModels: 2,
    parameters: [],
    implemented: false,
  },
];

// recipe + headers → plan. Pure: everything that can be known before a tensor byte is read is decided, checked and written down
// here.

import { toBase64 } from "../bytes/base64.ts";
import { BraidError, type Diagnostic, fail, isBraidError, quote } from "../errors.ts";
import { matrixFlops } from "../kernel/matrix-cost.ts";
import type { Policy } from "../kernel/program.ts";
import { nothingDropped } from "../methods/delta.ts";
import type { Method } from "../methods/method.ts";
import type { TensorAssignment } from "../recipe/assign.ts";
import type { ParsedRecipe } from "../recipe/recipe.ts";
import { byteWidth } from "../tensor/dtype.ts";
import { layoutShards } from "../tensor/shards.ts";
import { type Draft, type DraftOptions, draftTensor, drops } from "./draft.ts";
import { type Elsewhere, planMemory } from "./memory.ts";
import type { InputModel } from "./model.ts";
import { bytesReadBy } from "./passes.ts";
import type { Plan, PlanFile, PlanTensor } from "./plan.ts";
import { matricesOf, parametersOf, shapesOf } from "./shapes.ts";

export interface BuildOptions extends DraftOptions {
  readonly policy: Policy;
  readonly shardBytes: number;
  readonly workers: number;
  readonly memoryBytes: number;
  readonly sliceElements: number | null;
  readonly elsewhere?: Elsewhere;
  readonly kernelSha256: string;
  /** Goes into `__metadata__` of every output file. */
  readonly recipeSha256: string;
  /** Tokens of the vocabularies that rows are matched by. */
  readonly tokens: number;
}

export interface Built {
  readonly plan: Plan;
  readonly warnings: readonly Diagnostic[];
}

/** Errors shown at once; a wrong base repeats the same one for every tensor. */
const maxErrors = 20;

/** @throws BraidError with every tensor that cannot be merged. */
export function buildPlan(
  recipe: ParsedRecipe,
  assignments: readonly TensorAssignment[],
  checkpoints: readonly InputModel[],
  method: Method,
  options: BuildOptions,
): Built {
  const errors: Diagnostic[] = [];
  const warnings = new Map<string, Diagnostic>();
  const warn = (message: string, hint?: string) =>
    warnings.set(message, { kind: "recipe-parameter", message, ...(hint ? { hint } : {}) });
  if (options.policy.nonFinite === "base" && recipe.base === null) {
    fail("usage", "Cannot replace non-finite elements by the base's: the recipe has no base_model", {
      hint: "Use --non-finite error or keep.",
    });
  }

  const firstFile: number[] = [];
  const inputFiles: PlanFile[] = [];
  for (const c of checkpoints) {
    firstFile.push(inputFiles.length);
    for (const f of c.files)
      inputFiles.push({ location: f.location, byteLength: f.byteLength, headerSha256: f.headerSha256 });
  }

  const drafts: Draft[] = [];
  for (const assignment of assignments) {
    try {
      const drafted = draftTensor(recipe, assignment, checkpoints, firstFile, method, options, warn);
      if (drafted) drafts.push(drafted);
    } catch (e) {
      if (!isBraidError(e)) throw e;
      errors.push(...e.diagnostics);
    }
  }
  if (errors.length > 0) throw new BraidError(merged(errors));
  if (drafts.some(drops)) warnings.delete(`${method.name}: ${nothingDropped}`);
  checkShared(drafts);
  if (drafts.length === 0)
    fail("tensor-missing", "Cannot merge: the models have no tensor in common that the recipe asks for");

  const metadata = new Map([["braid_recipe_sha256", options.recipeSha256]]);
  const files = layoutShards(drafts, { shardBytes: options.shardBytes, metadata });
  const place = new Map(
    files.flatMap((f, file) => [...f.tensors].map(([name, range]) => [name, { file, start: range.start }] as const)),
  );
  const tensors = drafts.map(
    ({ name, dtype, shape, count, inputs, compiled, program }): PlanTensor => ({
      name,
      dtype,
      shape,
      count,
      inputs,
      output: place.get(name)!,
      surveys: compiled?.surveys ?? [],
      program,
      solve: compiled?.solve ?? {},
    }),
  );
  // In the order of the output's bytes, so that files fill from their start and can be hashed and flushed behind the writers.
  tensors.sort((a, b) => a.output.file - b.output.file || a.output.start - b.output.start);
  const headerBytes = files.reduce((sum, f) => sum + f.header.length, 0);
  const memory = planMemory(
    shapesOf(tensors, checkpoints.length * headerBytes, options.tokens),
    options.workers,
    options.memoryBytes,
    options.sliceElements,
    options.elsewhere,
  );
  const plan: Plan = {
    format: "braid-plan-1",
    method: method.name,
    seed: options.seed,
    kernelSha256: options.kernelSha256,
    inputs: checkpoints.map((c, i) => ({
      reference: c.reference,
      folder: c.folder,
      files: inputFiles.slice(firstFile[i]!, firstFile[i]! + c.files.length),
    })),
    inputFiles,
    outputs: files.map((f) => ({ name: f.name, byteLength: f.byteLength, header: toBase64(f.header) })),
    tensors,
    policy: options.policy,
    parameters: parametersOf(tensors),
    bytesRead: bytesReadBy(tensors),
    bytesWritten: tensors.reduce((sum, t) => sum + t.count * byteWidth(t.dtype), 0),
    flops: matricesOf(tensors).reduce((sum, { program }) => sum + matrixFlops(program), 0),
    memory,
  };
  return { plan, warnings: [...warnings.values()] };
}

/** Tensors that are ranked together have one density: refused with the tensors that differ. */
function checkShared(drafts: readonly Draft[]): void {
  const names = new Set(drafts.flatMap((d) => Object.keys(d.compiled?.shared ?? {})));
  for (const name of names) {
    const values = new Map<number | string, string[]>();
    for (const d of drafts) {
      const value = d.compiled?.shared?.[name];
      if (value !== undefined) values.set(value, [...(values.get(value) ?? []), d.name]);
    }
    if (values.size === 1) continue;
    const list = [...values].map(([value, tensors]) => {
      const more = tensors.length > 1 ? ` and ${tensors.length - 1} more` : "";
      return `${value} for ${quote(tensors[0]!)}${more}`;
    });
    fail("recipe-parameter", `Cannot rank all tensors together: ${name} is ${list.join(", ")}`, {
      hint: "Use one value for all tensors, or scope tensor.",
    });
  }
}

/** One line for each distinct cause: the same message about other tensors is counted, not repeated. */
function merged(errors: readonly Diagnostic[]): Diagnostic[] {
  const groups = new Map<string, { first: Diagnostic; more: number }>();
  for (const e of errors) {
    const key = `${e.kind} ${e.message
      .replace(/"[^"]*"/, "…")
      .replace(/\[[^\]]*\]/g, "[]")
      .replace(/"model\.[^"]*"/g, "…")}`;
    const group = groups.get(key);
    if (group) group.more++;
    else groups.set(key, { first: e, more: 0 });
  }
  return [...groups.values()]
    .slice(0, maxErrors)
    .map(({ first, more }) =>
      more === 0 ? first : { ...first, message: `${first.message} (and ${more} more tensors)` },
    );
}

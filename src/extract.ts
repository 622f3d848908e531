// From a fine-tune and its base to an adapter: open, survey what changed, plan, stage, factor, hash, write the configs, commit.

import { type Diagnostic, fail, quote } from "./errors.ts";
import type { Host } from "./host.ts";
import type { SurveyTask } from "./kernel/program.ts";
import { tileElements } from "./kernel/program.ts";
import { workerBytesFor } from "./kernel/run.ts";
import { readerBytes } from "./kernel/view.ts";
import { openNamed } from "./models.ts";
import { type AdaptedModule, type AdapterShape, isTransposed, type SavedTensor, type Svd } from "./plan/adapter.ts";
import { type DeltaTensor, deltaTensors } from "./plan/delta.ts";
import { type InputModel, tensorNames } from "./plan/model.ts";
import type { FloatDtype } from "./tensor/dtype.ts";
import { type AdapterSummary, assertFree, runTasks, writeAdapter } from "./write-adapter.ts";

/** What a user can ask of an extraction. Every field but the rank has its default in `defaultExtraction`. */
export interface ExtractRequest {
  readonly rank: number;
  /** α of the adapter; null: the rank. */
  readonly alpha: number | null;
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  readonly dtype: FloatDtype;
  readonly svd: Svd;
  /** Store norms, biases and whatever else changed as whole tensors. */
  readonly saveRest: boolean;
  readonly workers: number | null;
  /** Ceiling for the whole process in bytes. */
  readonly memoryBytes: number;
  readonly checksum: boolean;
  readonly sync: boolean;
  readonly overwrite: boolean;
}

export const defaultExtraction: Omit<ExtractRequest, "rank"> = {
  alpha: null,
  include: [],
  exclude: [],
  dtype: "F32",
  svd: "auto",
  saveRest: false,
  workers: null,
  memoryBytes: 1024 * 1024 * 1024,
  checksum: true,
  sync: true,
  overwrite: false,
};

/** Elements that a task of the survey reads. */
const surveyElements = 4 * 1024 * 1024;

/**
 * Writes the adapter of `rank` that is closest to fine-tune − base to `out`. Until it resolves, nothing there looks finished;
 * when it rejects, nothing was left.
 *
 * @throws BraidError, among others `shape-mismatch`, `non-finite` and `memory-budget`.
 */
export async function extract(
  base: string,
  model: string,
  request: ExtractRequest,
  out: string,
  host: Host,
): Promise<AdapterSummary> {
  await assertFree(out, request.overwrite, host);
  const opened = await openNamed(base, host);
  if (opened.model.overrides.size > 0) {
    fail("usage", `Cannot extract an adapter of ${quote(base)}: PEFT loads adapters onto plain models`, {
      hint: "Name a model without adapters and scaled weights, or merge them first.",
    });
  }
  const fine = await openNamed(model, host);
  return extractFrom(opened.model, opened.location.repo ?? base, fine.model, request, out, host);
}

/** `extract` of models that are open. `baseName`: what the adapter calls its base. */
export async function extractFrom(
  base: InputModel,
  baseName: string,
  model: InputModel,
  request: ExtractRequest,
  out: string,
  host: Host,
): Promise<AdapterSummary> {
  const started = host.now();
  const found = deltaTensors(base, model, request);
  const inputFiles = [...base.files, ...model.files];
  const all = [...found.weights, ...found.rest, ...found.excluded];
  const norms = await surveyDeltas(
    all,
    inputFiles.map((f) => f.location),
    [base, model],
    request,
    host,
  );
  const changed = (t: DeltaTensor) => norms.get(t.name)! > 0;
  const weights = found.weights.filter(changed);
  const rest = found.rest.filter(changed);
  const kept = request.saveRest ? withSiblings(rest, found.rest) : [];
  const lost = [...rest.filter((t) => !kept.includes(t)), ...found.excluded.filter(changed)].map((t) => t.name).sort();
  const whole = [...found.whole, ...kept];
  if (weights.length === 0) {
    fail(
      "tensor-missing",
      `Cannot extract an adapter from ${quote(model.reference)}: its linear layers are those of ${quote(base.reference)}`,
    );
  }
  const shape: AdapterShape = { ...request, transposed: isTransposed(base.config) };
  const warnings: Diagnostic[] = [...base.warnings, ...model.warnings, ...found.warnings];
  if (base.tied && whole.some((t) => /(^|\.)(embed_tokens|wte|embed_in)\.weight$/.test(t.name)))
    warnings.push({
      kind: "adapter",
      message:
        "Embeddings and head are tied in the base; PEFT unties them when an adapter stores the embeddings, and its head stays the base's",
    });
  return writeAdapter({
    modules: weights.map(
      (t): AdaptedModule => ({
        path: t.name.replace(/\.weight$/, ""),
        shape: [t.shape[0]!, t.shape[1]!],
        inputs: [t.base!, t.model],
        pairs: null,
      }),
    ),
    saved: whole.map((t): SavedTensor => ({ ...t, input: t.model, as: t.as! })),
    lost,
    unchanged: found.weights.length - weights.length,
    shape,
    base,
    baseName,
    names: tensorNames(base),
    models: [model],
    inputFiles,
    warnings,
    request,
    out,
    started,
    host,
  });
}

/** A module is saved with all of its tensors. */
function withSiblings(rest: readonly DeltaTensor[], all: readonly DeltaTensor[]): DeltaTensor[] {
  const moduleOf = (t: DeltaTensor) => t.name.replace(/\.[^.]+$/, "");
  const modules = new Set(rest.filter((t) => t.as === "module").map(moduleOf));
  return all.filter((t) => (t.as === "module" && modules.has(moduleOf(t))) || (t.as === "bias" && rest.includes(t)));
}

/** The largest |delta| of every tensor. */
async function surveyDeltas(
  tensors: readonly DeltaTensor[],
  locations: readonly string[],
  [base, model]: readonly [InputModel, InputModel],
  request: ExtractRequest,
  host: Host,
): Promise<Map<string, number>> {
  const largest = new Map(tensors.map((t) => [t.name, 0]));
  const owners: DeltaTensor[] = [];
  const tasks: SurveyTask[] = [];
  for (const t of tensors) {
    const { dtype: own, ...input } = t.model;
    const { dtype: its, ...before } = t.base!;
    const round = { op: "norms", operands: [{ input: 1, base: 0, keep: {} }] } as const;
    for (let first = 0; first < t.count; first += surveyElements) {
      const count = Math.min(surveyElements, t.count - first);
      owners.push(t);
      tasks.push({
        kind: "survey",
        id: tasks.length,
        first,
        count,
        inputs: [before, input],
        dtypes: [its, own],
        round,
      });
    }
  }
  const viewBytes = tensors.reduce((n, t) => Math.max(n, readerBytes(t.base!) + readerBytes(t.model)), 0);
  const workers = Math.max(1, Math.min(request.workers ?? host.cores, tasks.length));
  const job = {
    files: locations.map((path) => ({ path, mode: "read" as const })),
    workerBytes: workerBytesFor(2, 16) + viewBytes + tileElements,
  };
  await runTasks(tasks, job, workers, host, (task, receipt) => {
    const t = owners[task.id]!;
    for (const n of receipt.nonFinite) {
      const who = n.input === 0 ? base : model;
      fail(
        "non-finite",
        `Cannot extract ${quote(t.name)}: ${quote(who.reference)} has ${n.count} NaN or infinite elements, the first at index ${n.first}`,
      );
    }
    if (receipt.kind !== "survey" || receipt.result.op !== "norms") throw new TypeError("expected norms");
    largest.set(t.name, Math.max(largest.get(t.name)!, receipt.result.max[0]!));
  });
  return largest;
}

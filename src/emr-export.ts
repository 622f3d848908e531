// EMR-merging as its authors use it: one unified delta, and for each model a mask and a scale that lead back to it (Huang et al.
// 2024, arXiv 2405.17461). Plan, stage, tasks, sums, index, commit.

import { type Diagnostic, fail, quote } from "./errors.ts";
import type { Job } from "./exec/executor.ts";
import type { Host, MergeRequest, MergeSummary } from "./host.ts";
import type { Receipt, Task } from "./kernel/program.ts";
import type { UnifyFacts } from "./kernel/unify-program.ts";
import { type EmrPlan, type EmrTensor, planEmr } from "./plan/emr.ts";
import { type Prepared, prepare } from "./prepare.ts";
import { Progress } from "./progress.ts";
import { version } from "./report.ts";
import { type EmrIndex, emrFormat, emrIndexName, emrUnifiedName } from "./tensor/emr.ts";
import { assertFree, runTasks } from "./write-adapter.ts";

/** Room for what goes beside the tensors. */
const spareBytes = 4 * 1024 * 1024;

export interface EmrSummary {
  readonly out: string;
  readonly base: string;
  readonly models: EmrIndex["models"];
  readonly tensors: number;
  readonly parameters: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly workers: number;
  readonly seconds: number;
  readonly peakMemoryBytes: number | null;
  readonly plannedPeakBytes: number;
  readonly files: MergeSummary["files"];
  readonly warnings: readonly Diagnostic[];
}

/** Writes the export of an `emr` recipe to `out`. Until it resolves, nothing there looks finished; when it rejects, nothing was left. */
export async function exportMasks(
  request: MergeRequest,
  out: string,
  overwrite: boolean,
  host: Host,
): Promise<EmrSummary> {
  const started = host.now();
  await assertFree(out, overwrite, host);
  if (request.rounding !== "nearest")
    fail("usage", "Cannot export masks with --rounding stochastic: a mask goes with the delta as it is stored");
  const prepared = await prepare(request, host);
  if (prepared.earlier.length > 0 || prepared.recipe.method !== "emr") {
    fail(
      "recipe-unsupported",
      prepared.earlier.length > 0
        ? "Cannot export masks: the file holds several recipes"
        : `Cannot export masks of ${quote(prepared.recipe.method)}: they belong to merge_method: emr`,
      { where: prepared.recipe.methodAt },
    );
  }
  const { checkpoints } = prepared;
  const plan = planEmr(prepared.plan, prepared.recipeSha256);
  const warnings = [...prepared.warnings];
  const warn = (diagnostic: Diagnostic) => {
    warnings.push(diagnostic);
    host.report({ type: "warning", diagnostic });
  };
  for (const diagnostic of prepared.warnings) host.report({ type: "warning", diagnostic });
  const stage = await host.openStage(host.fs.resolve(host.cwd, out), {
    overwrite,
    files: plan.files.map(({ name, header }) => ({ name, byteLength: header.byteLength, header: header.bytes })),
    requiredBytes: plan.files.reduce((sum, f) => sum + f.header.byteLength, spareBytes),
    inputs: checkpoints.map((c) => c.folder),
    planSha256: prepared.planSha256,
    sync: request.sync,
  });
  for (const diagnostic of stage.warnings) host.report({ type: "warning", diagnostic });
  const hashes = request.checksum ? plan.files.map((f) => host.hashFile(stage.path(f.name))) : [];
  try {
    const sums = await runUnify(plan, prepared, request, (name) => stage.path(name), host, started);
    for (const c of checkpoints) for (const f of c.files) if (f.identity) host.assertUnchanged(f.location, f.identity);
    const files: MergeSummary["files"][number][] = [];
    for (const [i, { name, header }] of plan.files.entries()) {
      if (hashes[i]) host.report({ type: "hashing", file: name });
      files.push({ name, byteLength: header.byteLength, sha256: (await hashes[i]?.finish(host.signal)) ?? null });
    }
    const base = checkpoints[prepared.recipe.base!]!.reference;
    const models = plan.models.map(({ model, name, file }, i): EmrIndex["models"][number] => {
      const { deltas, masked, kept } = sums[i]!;
      if (masked === 0 && deltas > 0)
        warn({
          kind: "adapter",
          message: `Nothing of ${quote(prepared.plan.inputs[model]!.reference)} is in the unified delta: every sign was another model's`,
        });
      // Without a delta there is nothing to scale.
      return {
        name,
        model: prepared.plan.inputs[model]!.reference,
        file,
        scale: masked > 0 ? deltas / masked : 0,
        kept,
      };
    });
    const index: EmrIndex = { format: emrFormat, base_model: base, unified: emrUnifiedName, models };
    await stage.writeText(emrIndexName, `${JSON.stringify(index, null, 2)}\n`);
    await stage.writeText("mergekit_config.yml", request.recipe.text);
    await stage.writeText("braid.json", manifestText(prepared, files));
    host.signal.throwIfAborted();
    await stage.commit();
    return {
      out,
      base,
      models,
      tensors: plan.tensors.length,
      parameters: plan.tensors.reduce((sum, t) => sum + t.tensor.count, 0),
      bytesRead: plan.bytesRead,
      bytesWritten: plan.bytesWritten,
      workers: plan.workers,
      seconds: (host.now() - started) / 1000,
      peakMemoryBytes: host.peakMemory(),
      plannedPeakBytes: plan.peakBytes,
      files,
      warnings,
    };
  } catch (error) {
    for (const hash of hashes) hash.close();
    await stage.abort();
    throw error;
  }
}

/** Σ |δ| and Σ |τ| behind the mask, and the bits that are set, of one model. */
interface Sums {
  deltas: number;
  masked: number;
  kept: number;
}

/** Runs the tasks. Sums are taken block by block in the order of each tensor, and over tensors in their order. */
async function runUnify(
  plan: EmrPlan,
  { checkpoints, plan: merged }: Prepared,
  request: MergeRequest,
  path: (name: string) => string,
  host: Host,
  started: number,
): Promise<Sums[]> {
  const owners = plan.tensors.flatMap((t) => t.tasks.map(() => t));
  const tasks = plan.tensors.flatMap((t) => t.tasks);
  const job: Job = {
    files: [
      ...merged.inputFiles.map((f) => ({ path: f.location, mode: "read" as const })),
      ...plan.files.map((f) => ({ path: path(f.name), mode: "write" as const })),
    ],
    workerBytes: plan.workerBytes,
    sync: request.sync,
  };
  const progress = new Progress(
    host,
    started,
    tasks.reduce((sum, t) => sum + t.count, 0),
  );
  const parts = new Map<EmrTensor, Map<number, UnifyFacts>>();
  const ofTensor = new Map<EmrTensor, Sums[]>();
  const kept = plan.models.map(() => 0);
  const done = (task: Task, receipt: Receipt): void => {
    const owner = owners[task.id]!;
    const { name, inputs } = owner.tensor;
    if (receipt.kind !== "merge" || !receipt.unified) throw new TypeError("expected a unified delta");
    for (const n of receipt.nonFinite)
      fail(
        "non-finite",
        `Cannot export masks of ${quote(name)}: ${quote(checkpoints[inputs[n.input]!.model]!.reference)} has ${n.count} NaN or infinite elements, the first at index ${n.first}`,
      );
    if (receipt.overflow.count > 0)
      fail(
        "overflow",
        `Cannot store the unified delta of ${quote(name)} as ${owner.program.out}: ${receipt.overflow.count} values are too large for it, the first at index ${receipt.overflow.first}`,
        { hint: "Give the recipe out_dtype: bfloat16 or float32." },
      );
    receipt.kept.forEach((n, term) => {
      kept[owner.terms[term]!]! += n;
    });
    const own = parts.get(owner) ?? new Map<number, UnifyFacts>();
    parts.set(owner, own.set(task.id, receipt.unified));
    if (own.size === owner.tasks.length) {
      ofTensor.set(owner, sumsOf(owner, own));
      parts.delete(owner);
    }
    progress.done(task.id, task.count, name);
  };
  await runTasks(tasks, job, plan.workers, host, done);
  progress.end();
  const total = kept.map((n): Sums => ({ deltas: 0, masked: 0, kept: n }));
  for (const t of plan.tensors) {
    ofTensor.get(t)!.forEach(({ deltas, masked }, term) => {
      const sum = total[t.terms[term]!]!;
      sum.deltas += deltas;
      sum.masked += masked;
    });
  }
  return total;
}

function sumsOf({ terms, tasks }: EmrTensor, parts: ReadonlyMap<number, UnifyFacts>): Sums[] {
  return terms.map((_, term) => {
    const sum = { deltas: 0, masked: 0, kept: 0 };
    for (const { id } of tasks) {
      const { deltas, masked } = parts.get(id)!;
      for (const x of deltas[term]!) sum.deltas += x;
      for (const x of masked[term]!) sum.masked += x;
    }
    return sum;
  });
}

/** braid.json: what was made of what. Times and the machine are left out, so that it repeats. */
function manifestText({ plan, recipeSha256, planSha256 }: Prepared, files: MergeSummary["files"]): string {
  const inputs = plan.inputs.map((input) => ({
    model: input.reference,
    files: input.files.map(({ location, byteLength, headerSha256 }) => ({
      name: location.slice(Math.max(location.lastIndexOf("/"), location.lastIndexOf("\\")) + 1),
      byteLength,
      headerSha256,
    })),
  }));
  const { kernelSha256 } = plan;
  return `${JSON.stringify({ format: emrFormat, version, recipeSha256, planSha256, kernelSha256, inputs, files }, null, 1)}\n`;
}

// A merge that is stored as an adapter of its base: sums of adapters factor by factor, everything else by way of the merged weights
// in f32, which lie beside the output until its factors are found.

import { fail, quote } from "./errors.ts";
import { type ExtractRequest, extractFrom } from "./extract.ts";
import type { Host, MergeRequest } from "./host.ts";
import { merge } from "./merge.ts";
import { openNamed } from "./models.ts";
import { isTransposed } from "./plan/adapter.ts";
import { adapterSums } from "./plan/adapter-sum.ts";
import { tensorNames } from "./plan/model.ts";
import { prepare } from "./prepare.ts";
import { type AdapterSummary, assertFree, writeAdapter } from "./write-adapter.ts";

/**
 * Merges as the recipe says and writes merged − base_model as an adapter. Until it resolves, nothing at `out` looks finished;
 * when it rejects, nothing was left.
 */
export async function mergeAsAdapter(
  request: MergeRequest,
  adapter: ExtractRequest,
  out: string,
  host: Host,
): Promise<AdapterSummary> {
  const started = host.now();
  await assertFree(out, adapter.overwrite, host);
  const wide: MergeRequest = { ...request, outDtype: "float32" };
  const prepared = await prepare(wide, host);
  const { recipe, checkpoints, plan } = prepared;
  const base = recipe.base === null ? null : checkpoints[recipe.base]!;
  if (!base || recipe.models[recipe.base!]!.lora || base.overrides.size > 0) {
    fail("recipe-models", "Cannot store the merge as an adapter: the recipe needs a base_model that is a plain model", {
      hint: "The adapter holds the difference to it.",
    });
  }
  const baseName = prepared.locations[recipe.base!]!.repo ?? base.reference;
  const transposed = isTransposed(base.config);
  const modules = prepared.earlier.length === 0 ? adapterSums(plan, transposed) : null;
  if (modules) {
    return writeAdapter({
      modules,
      saved: [],
      lost: [],
      unchanged: 0,
      shape: { ...adapter, transposed },
      base,
      baseName,
      names: tensorNames(base),
      models: checkpoints.filter((c) => c !== base),
      inputFiles: checkpoints.flatMap((c) => c.files),
      warnings: prepared.warnings,
      request: adapter,
      out,
      started,
      host,
    });
  }
  const steps = host.fs.resolve(host.cwd, `${out}.merged`);
  if (host.fs.kind(steps) !== null) fail("output-exists", `Cannot merge by way of ${quote(steps, 4096)}: it exists`);
  try {
    const bare = { ...wide, copyTokenizer: false, writeModelCard: false, checksum: false, sync: false };
    await merge(bare, steps, { overwrite: false }, host);
    const merged = await openNamed(steps, host);
    const found = await extractFrom(base, baseName, merged.model, adapter, out, host);
    return { ...found, models: checkpoints.filter((c) => c !== base).map((c) => c.reference) };
  } finally {
    await host.removeFolder(steps);
  }
}

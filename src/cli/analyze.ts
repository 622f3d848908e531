// `braid analyze`: what is in the deltas of fine-tunes, and what to begin a merge with.

import * as fs from "node:fs";
import { dirname, isAbsolute, relative, resolve } from "node:path";
import { type Analysed, analyze } from "../analyze/analyze.ts";
import { recipeOf } from "../analyze/recipe.ts";
import { outputFailed, rename, show } from "../bytes/output.ts";
import { fail } from "../errors.ts";
import { createThreadPool } from "../exec/threads.ts";
import type { MergeEvent } from "../host.ts";
import { compileKernel } from "../kernel/kernel.ts";
import { analysisText } from "./analyze-text.ts";
import { createHost } from "./host.ts";
import type { Context } from "./main.ts";
import type { CommandOf } from "./program.ts";
import { ProgressLine, writeDiagnostic } from "./terminal.ts";

const workerEntry = new URL("./worker.ts", import.meta.url);

/** Told before the work. */
function assertNew(path: string, overwrite: boolean): void {
  if (!overwrite && fs.existsSync(path))
    fail("output-exists", `Cannot write the recipe ${show(path)}: it exists`, {
      hint: "Name another file, or give --overwrite.",
    });
}

function writeRecipe(path: string, text: string, overwrite: boolean): void {
  assertNew(path, overwrite);
  const part = `${path}.part`;
  try {
    fs.writeFileSync(part, text);
  } catch (e) {
    outputFailed(`Cannot write the recipe ${show(path)}`, e);
  }
  rename(part, path);
}

/** As a recipe in `folder` names what the command line named from `cwd`: hub ids stay what they are. */
function renamed(name: string, cwd: string, folder: string): string {
  const local = (part: string) =>
    !isAbsolute(part) && fs.existsSync(resolve(cwd, part)) ? relative(folder, resolve(cwd, part)) || "." : part;
  return name.split("+").map(local).join("+");
}

function toJson({ analysis, ...facts }: Analysed, perTensor: boolean, recipe: string | null): string {
  const { tensors, ...rest } = analysis;
  return JSON.stringify({ ...rest, tensors: perTensor ? tensors : [], recipe, ...facts }, null, 2);
}

export async function runAnalyze(command: CommandOf<"analyze">, context: Context): Promise<number> {
  const { out, err } = context.terminal;
  const progress = new ProgressLine(err, () => performance.now());
  const report = (event: MergeEvent): void => {
    if (event.type === "progress" && !command.quiet) progress.update({ ...event, label: event.tensor });
  };
  const module = compileKernel();
  const host = createHost({
    ...context,
    report,
    createExecutor: (job, workers) =>
      createThreadPool({ module, workers, job, entry: workerEntry, timeOrigin: performance.timeOrigin }),
  });
  const recipePath = command.writeRecipe === undefined ? null : resolve(host.cwd, command.writeRecipe);
  if (recipePath !== null) assertNew(recipePath, command.overwrite);
  const request = {
    include: command.include,
    exclude: command.exclude,
    topShare: command.top,
    workers: command.workers ?? null,
    memoryBytes: command.memory,
    sliceElements: command.slice ?? null,
    allowMissing: command.allowMissing,
    modelCypher: command.modelcypher ?? ("default" as const),
  };
  let analysed: Analysed;
  try {
    analysed = await analyze(command.base, command.models, request, host);
  } finally {
    progress.clear();
  }
  for (const diagnostic of analysed.warnings) writeDiagnostic(err, "warning", diagnostic);
  const { analysis } = analysed;
  if (recipePath !== null) {
    const name = (model: string) => renamed(model, host.cwd, dirname(recipePath));
    const text = recipeOf({ ...analysis, base: name(analysis.base), models: analysis.models.map(name) });
    writeRecipe(recipePath, text, command.overwrite);
  }
  if (command.json) out.write(`${toJson(analysed, command.perTensor, recipePath)}\n`);
  else if (!command.quiet) {
    const how = { perTensor: command.perTensor, modelCypher: command.modelcypher !== undefined };
    out.write(analysisText(analysed, how, out));
    if (recipePath !== null) out.write(`Wrote ${command.writeRecipe}\n`);
  }
  return 0;
}

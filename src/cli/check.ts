// `braid check`: a verdict on a recipe and its checkpoints, from text and headers, and with --deep from samples of the tensors.

import { assumedRate, assumedSeconds, type Examination, type Examined, examine } from "../check/examine.ts";
import { BraidError, type Diagnostic, errorKinds, exitCodes, formatDiagnostic } from "../errors.ts";
import type { Plan } from "../plan/plan.ts";
import { dtypeCounts, writeExamined } from "./check-text.ts";
import { formatBytes, formatCount, formatMemory, formatParameters, formatSeconds, plural } from "./format.ts";
import { createHost } from "./host.ts";
import type { Context } from "./main.ts";
import { toRequest } from "./options.ts";
import type { CommandOf } from "./program.ts";
import { readRecipe } from "./recipe-text.ts";
import { paint, type Screen } from "./terminal.ts";
import { vocabularyText } from "./vocabulary-text.ts";

interface Finding {
  readonly level: "ok" | "warn" | "error";
  readonly message: string;
  readonly diagnostic?: Diagnostic;
}

function goodNews({ models, config, shares, plan, joined }: Examined): Finding[] {
  const ok = (message: string): Finding => ({ level: "ok", message });
  const several = models.length > 1;
  const tokenizers = models.flatMap((m) => m.tokenizer ?? []);
  const same = new Set(tokenizers.map((t) => `${t.file} ${t.sha256}`)).size === 1;
  const agree = config.filter((key) => !key.differs).length;
  return [
    ...(plan ? [ok(`recipe: ${plan.method} of ${plural(plan.inputs.length, "model")}`)] : []),
    ...(several && config.length > 0 ? [ok(`config: the models agree in ${agree} of ${config.length} keys`)] : []),
    ...(several && same && tokenizers.length === models.length ? [ok("tokenizers: all equal")] : []),
    ...(several && shares.every((s) => s.equalShapeAndDtype === s.tensors)
      ? [ok("headers: all have the same tensors, of equal shape and dtype")]
      : []),
    ...(joined ? [ok(`vocabulary: ${vocabularyText(joined, models)}`)] : []),
    ...(plan ? planned(plan).map(ok) : []),
  ];
}

function planned(plan: Plan): string[] {
  const { memory } = plan;
  const whole = plan.tensors.filter((t) => /^(BOOL|[UI]\d+)$/.test(t.dtype)).length;
  return [
    `tensors: all ${formatCount(plan.tensors.length)} fit together (${formatParameters(plan.parameters)} parameters)`,
    `output: ${plural(plan.outputs.length, "file")}, ${formatBytes(plan.bytesWritten)}, ${dtypeCounts(plan)}`,
    ...(whole > 0 ? [`whole numbers: ${plural(whole, "tensor")}, copied where the models agree, not merged`] : []),
    `memory: at most ${formatMemory(memory.peakBytes)} of ${formatMemory(memory.limitBytes)}, ${plural(memory.workers, "worker")}`,
    `work: ${formatBytes(plan.bytesRead)} to read, ${formatBytes(plan.bytesWritten)} to write; about ${formatSeconds(Math.max(0.01, assumedSeconds(plan)))} if a worker does ${formatBytes(assumedRate)} a second, which was not measured here (braid bench does)`,
  ];
}

const bad =
  (level: "warn" | "error") =>
  (diagnostic: Diagnostic): Finding => ({ level, message: formatDiagnostic(diagnostic), diagnostic });

function writeFinding(screen: Screen, { level, message }: Finding): void {
  const style = { ok: "green", warn: "yellow", error: "red" } as const;
  screen.write(`${paint(screen, style[level], level.padEnd(5))}  ${message.replaceAll("\n", "\n       ")}\n`);
}

/** What --json has beside the findings, one for each recipe of the file. */
function documentOf({ recipe, models, config, shares, from, distances, plan }: Examined) {
  const reference = (i: number) => models[i]!.reference;
  return {
    name: recipe.name ?? null,
    method: recipe.method,
    models,
    config,
    lineage: {
      from: from === null ? null : reference(from),
      shares: shares.map((s) => ({ ...s, a: reference(s.a), b: reference(s.b) })),
      distances: distances?.map((d) => ({ ...d, model: reference(d.model) })) ?? null,
    },
    plan: plan && {
      tensors: plan.tensors.length,
      parameters: plan.parameters,
      dtypes: Object.fromEntries(dtypesOf(plan)),
      files: plan.outputs.map((f) => ({ name: f.name, byteLength: f.byteLength })),
      bytesRead: plan.bytesRead,
      bytesWritten: plan.bytesWritten,
      memory: plan.memory,
      assumedBytesPerSecond: assumedRate,
      assumedSeconds: assumedSeconds(plan),
    },
  };
}

function dtypesOf(plan: Plan): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { dtype } of plan.tensors) counts.set(dtype, (counts.get(dtype) ?? 0) + 1);
  return counts;
}

export async function runCheck(command: CommandOf<"check">, context: Context): Promise<number> {
  const { out, err } = context.terminal;
  if (!command.quiet) for (const note of command.unneeded) err.write(`note: ${note}\n`);
  const host = createHost({ ...context, report: () => {} });
  let examination: Examination;
  try {
    const request = toRequest(await readRecipe(command.recipe, host.cwd, host.signal), command);
    examination = await examine(request, host, { deep: command.deep });
  } catch (error) {
    // The recipe itself could not be read.
    if (!(error instanceof BraidError) || context.signal.aborted) throw error;
    examination = { recipes: [], errors: error.diagnostics, warnings: [] };
  }
  const { recipes, errors, warnings } = examination;
  const exitCode = errors[0] ? exitCodes[errorKinds[errors[0].kind].exit] : 0;
  const findings = [...recipes.flatMap(goodNews), ...warnings.map(bad("warn")), ...errors.map(bad("error"))];
  if (command.json) {
    const document = { exitCode, errors: errors.length, warnings: warnings.length, findings };
    out.write(`${JSON.stringify({ ...document, recipes: recipes.map(documentOf) }, null, 2)}\n`);
    return exitCode;
  }
  if (!command.quiet) for (const [i, one] of recipes.entries()) writeExamined(out, one, i, recipes.length);
  for (const finding of findings) if (!command.quiet || finding.level !== "ok") writeFinding(out, finding);
  if (!command.quiet) out.write(`${plural(errors.length, "error")}, ${plural(warnings.length, "warning")}\n`);
  return exitCode;
}

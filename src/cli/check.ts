// `braid check`: a verdict on a recipe and its checkpoints, from text and headers alone.

import { BraidError, type Diagnostic, formatDiagnostic } from "../errors.ts";
import { type Prepared, prepare } from "../merge.ts";
import { formatBytes, formatCount, formatMemory, formatParameters, plural, printable } from "./format.ts";
import { createHost } from "./host.ts";
import type { Context } from "./main.ts";
import { toRequest } from "./options.ts";
import type { CommandOf } from "./program.ts";
import { readRecipe } from "./recipe-text.ts";
import { paint, type Screen } from "./terminal.ts";

interface Finding {
  readonly level: "ok" | "warn" | "error";
  readonly message: string;
  readonly diagnostic?: Diagnostic;
}

function goodNews({ plan }: Prepared): Finding[] {
  const ok = (message: string): Finding => ({ level: "ok", message });
  const { memory } = plan;
  return [
    ok(`recipe: ${plan.method} of ${plural(plan.inputs.length, "model")}`),
    ...plan.inputs.map(({ reference, files }) =>
      ok(
        `model ${printable(reference)}: ${plural(files.length, "file")}, ${formatBytes(files.reduce((sum, file) => sum + file.byteLength, 0))}`,
      ),
    ),
    ok(
      `tensors: all ${formatCount(plan.tensors.length)} fit together (${formatParameters(plan.parameters)} parameters)`,
    ),
    ok(`output: ${plural(plan.outputs.length, "file")}, ${formatBytes(plan.bytesWritten)}`),
    ok(
      `memory: at most ${formatMemory(memory.peakBytes)} of ${formatMemory(memory.limitBytes)}, ${plural(memory.workers, "worker")}`,
    ),
  ];
}

const bad =
  (level: "warn" | "error") =>
  (diagnostic: Diagnostic): Finding => ({ level, message: formatDiagnostic(diagnostic), diagnostic });

function writeFinding(screen: Screen, { level, message }: Finding): void {
  const style = { ok: "green", warn: "yellow", error: "red" } as const;
  screen.write(`${paint(screen, style[level], level.padEnd(5))}  ${message.replaceAll("\n", "\n       ")}\n`);
}

export async function runCheck(command: CommandOf<"check">, context: Context): Promise<number> {
  const { out, err } = context.terminal;
  if (!command.quiet) for (const note of command.unneeded) err.write(`note: ${note}\n`);
  const findings: Finding[] = [];
  let exitCode = 0;
  const host = createHost({ ...context, report: () => {} });
  try {
    const prepared = await prepare(toRequest(await readRecipe(command.recipe, host.cwd, host.signal), command), host);
    findings.push(...goodNews(prepared), ...prepared.warnings.map(bad("warn")));
  } catch (error) {
    if (!(error instanceof BraidError) || context.signal.aborted) throw error;
    exitCode = error.exitCode;
    findings.push(...error.diagnostics.map(bad("error")));
  }
  const count = (level: Finding["level"]) => findings.filter((finding) => finding.level === level).length;
  if (command.json) {
    out.write(`${JSON.stringify({ exitCode, errors: count("error"), warnings: count("warn"), findings }, null, 2)}\n`);
  } else {
    for (const finding of findings) if (!command.quiet || finding.level !== "ok") writeFinding(out, finding);
    if (!command.quiet) out.write(`${plural(count("error"), "error")}, ${plural(count("warn"), "warning")}\n`);
  }
  return exitCode;
}

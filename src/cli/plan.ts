// `braid plan`: everything that a merge would do, without doing it.

import type { Diagnostic } from "../errors.ts";
import type { Scalar, Survey } from "../kernel/program.ts";
import { prepare } from "../merge.ts";
import type { Plan, PlanTensor } from "../plan/plan.ts";
import {
  formatBytes,
  formatCount,
  formatMemory,
  formatParameters,
  formatShape,
  formatTable,
  plural,
  printable,
} from "./format.ts";
import { createHost } from "./host.ts";
import type { Context } from "./main.ts";
import { toRequest } from "./options.ts";
import type { CommandOf } from "./program.ts";
import { readRecipe } from "./recipe-text.ts";
import { paint, type Screen, writeDiagnostic } from "./terminal.ts";

/** Rows of the tensor table without --all. */
const tableLimit = 20;

const scalar = (value: Scalar): string =>
  typeof value === "number" ? String(Number(value.toPrecision(4))) : `‹${value.from}›`;

/** A program in a few words: "base + 0.7·m1 drop 90 % + …, elect weighted". */
export function programText({ program }: PlanTensor): string {
  if (program.op === "copy") return "copy";
  const terms = program.terms.map((term) => {
    const keep = [
      ...(term.keep.random && term.keep.random.threshold > 0
        ? [`drop ${Number(((term.keep.random.threshold / 2 ** 32) * 100).toFixed(2))} %`]
        : []),
      ...(term.keep.magnitude ? ["trim"] : []),
    ];
    return `${scalar(term.scale)}·i${term.input}${keep.length > 0 ? ` (${keep.join(", ")})` : ""}`;
  });
  const base = program.base === null ? "" : `i${program.base} + `;
  const lambda = program.lambda === 1 ? "" : `${scalar(program.lambda)} · `;
  const { combine } = program;
  const sum = terms.join(" + ");
  const body = combine.op === "sum" ? (lambda ? `(${sum})` : sum) : `elect(${sum})${combine.divide ? " / Σw" : ""}`;
  return `${base}${lambda}${body}`;
}

function surveyCounts(plan: Plan): string {
  const counts = new Map<Survey["op"], number>();
  for (const tensor of plan.tensors) for (const { op } of tensor.surveys) counts.set(op, (counts.get(op) ?? 0) + 1);
  return [...counts].map(([op, n]) => `${formatCount(n)} × ${op}`).join(", ") || "none";
}

export function writePlan(screen: Screen, plan: Plan, all: boolean): void {
  const { memory } = plan;
  const title = (text: string) => screen.write(`\n${paint(screen, "bold", text)}\n`);
  const slices = plan.tensors.reduce((sum, tensor) => sum + Math.ceil(tensor.count / memory.sliceElements), 0);
  screen.write(`${paint(screen, "bold", plan.method)}, seed ${plan.seed}\n`);
  screen.write(
    formatTable([
      ["tensors", `${formatCount(plan.tensors.length)} (${formatParameters(plan.parameters)} parameters)`],
      ["bytes", `${formatBytes(plan.bytesRead)} to read, ${formatBytes(plan.bytesWritten)} to write`],
      [
        "slices",
        `${formatCount(slices)} of at most ${formatCount(memory.sliceElements)} elements, ${plural(memory.workers, "worker")}`,
      ],
      ["surveys", surveyCounts(plan)],
      [
        "memory",
        `${formatMemory(memory.peakBytes)} at the peak: ${memory.workers} × ${formatMemory(memory.workerBytes)} for workers, ${formatMemory(memory.surveyBytes)} for surveys, ${formatMemory(memory.runtimeBytes)} for the runtime; limit ${formatMemory(memory.limitBytes)}`,
      ],
      ["policy", `non-finite ${plan.policy.nonFinite}, overflow ${plan.policy.overflow}`],
      ["kernels", `sha256 ${plan.kernelSha256}`],
    ]),
  );
  title("Inputs");
  screen.write(
    formatTable(
      plan.inputs.map(({ reference, files }, i) => [
        `i${i}`,
        printable(reference),
        plural(files.length, "file"),
        formatBytes(files.reduce((sum, file) => sum + file.byteLength, 0)),
      ]),
      [3],
    ),
  );
  title("Outputs");
  screen.write(
    formatTable(
      plan.outputs.map(({ name, byteLength }) => [name, formatBytes(byteLength)]),
      [1],
    ),
  );
  title("Tensors");
  const shown = all ? plan.tensors : plan.tensors.slice(0, tableLimit);
  screen.write(
    formatTable(
      shown.map((tensor) => [printable(tensor.name), tensor.dtype, formatShape(tensor.shape), programText(tensor)]),
    ),
  );
  if (shown.length < plan.tensors.length) {
    screen.write(`  … and ${formatCount(plan.tensors.length - shown.length)} more (--all shows them)\n`);
  }
}

export async function runPlan(command: CommandOf<"plan">, context: Context): Promise<number> {
  const { out, err } = context.terminal;
  const warn = (diagnostic: Diagnostic) => writeDiagnostic(err, "warning", diagnostic);
  if (!command.quiet) for (const note of command.unneeded) err.write(`note: ${note}\n`);
  const host = createHost({ ...context, report: () => {} });
  const { plan, warnings } = await prepare(toRequest(await readRecipe(command.recipe, host.cwd), command), host);
  for (const warning of warnings) warn(warning);
  if (command.json) out.write(`${JSON.stringify(plan)}\n`);
  else writePlan(out, plan, command.all);
  return 0;
}

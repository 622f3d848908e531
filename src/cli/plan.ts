// `braid plan`: everything that a merge would do, without doing it.

import type { Diagnostic } from "../errors.ts";
import { flopsPerSecond } from "../kernel/matrix-cost.ts";
import type { Keep, MatrixRule, Scalar, Survey, Term } from "../kernel/program.ts";
import type { Plan, PlanTensor } from "../plan/plan.ts";
import { prepare } from "../prepare.ts";
import {
  formatBytes,
  formatCount,
  formatMemory,
  formatParameters,
  formatSeconds,
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
import { vocabularyText } from "./vocabulary-text.ts";

/** Rows of the tensor table without --all. */
const tableLimit = 20;

const digits = (value: number): string => String(Number(value.toPrecision(4)));
const scalar = (value: Scalar): string => (typeof value === "number" ? digits(value) : `‹${value.from}›`);

/** w · s as one number where both are known; a 1 is left out. */
function coefficient({ weight, scale }: Term): string {
  if (typeof weight === "number" && typeof scale === "number") return `${digits(weight * scale)}·`;
  return [weight, scale]
    .filter((value) => value !== 1)
    .map((value) => `${scalar(value)}·`)
    .join("");
}

function keepText({ random, magnitude }: Keep): string {
  const parts = [
    ...(random && random.threshold > 0 ? [`drop ${Number(((random.threshold / 2 ** 32) * 100).toFixed(2))} %`] : []),
    ...(magnitude ? ["trim"] : []),
  ];
  return parts.length > 0 ? ` (${parts.join(", ")})` : "";
}

function ruleText(rule: MatrixRule): string {
  switch (rule.op) {
    case "star":
      return `star ${digits(100 * rule.share)} %`;
    case "tsv":
      return `tsv rank ${rule.rank}`;
    case "isotropic":
      return rule.specific === 0 ? "iso" : `iso ${rule.common} + ${rule.specific} each`;
    case "high-pass":
      return `high-pass ${digits(rule.cutoff)}`;
  }
}

/** A program in one line; iN is model N of the plan, ‹x› comes from a survey: "i3 + elect(7·i0 (drop 90 %) + …)". */
export function programText({ program, inputs, solve }: PlanTensor): string {
  if (program.op === "copy") return "copy";
  const model = (input: number) => `i${inputs[input]?.model ?? "?"}`;
  if (program.op === "matrix") {
    const deltas = program.terms
      .map((t) => `${t.weight === 1 ? "" : `${digits(t.weight)}·`}${model(t.input)}`)
      .join(", ");
    const factor = program.lambda === 1 ? "" : `${digits(program.lambda)}·`;
    return `${model(program.base)} + ${factor}${ruleText(program.rule)}(${deltas})`;
  }
  const sum = program.terms.map((term) => `${coefficient(term)}${model(term.input)}${keepText(term.keep)}`).join(" + ");
  const lambda = program.lambda === 1 ? "" : `${scalar(program.lambda)}·`;
  const { combine } = program;
  const body = combine.op === "elect" ? `elect(${sum})${combine.divide ? " / Σw" : ""}` : lambda ? `(${sum})` : sum;
  const given = typeof solve.t === "number" ? `, t ${digits(solve.t)}` : "";
  return `${program.base === null ? "" : `${model(program.base)} + `}${lambda}${body}${given}`;
}

/** Index of the model that deltas are taken from, or null. */
export function baseModel(plan: Plan): number | null {
  for (const { program, inputs } of plan.tensors) {
    if (program.op !== "copy" && program.base !== null) return inputs[program.base]?.model ?? null;
  }
  return null;
}

function surveyCounts(plan: Plan): string {
  const counts = new Map<string, number>();
  const titleOf = (s: Survey) => (s.op === "threshold" && s.scope === "model" ? `${s.op} (ranked together)` : s.op);
  for (const { surveys } of plan.tensors)
    for (const s of surveys) counts.set(titleOf(s), (counts.get(titleOf(s)) ?? 0) + 1);
  return [...counts].map(([title, n]) => `${formatCount(n)} × ${title}`).join(", ") || "none";
}

/** How long matrices take, which is most of the time where there are any. */
function matrixRows({ tensors, flops, memory }: Plan): string[][] {
  const matrices = tensors.filter((t) => t.program.op === "matrix").length;
  if (matrices === 0) return [];
  const seconds = flops / flopsPerSecond / Math.min(memory.workers, matrices);
  const rate = `${digits(flops / 1e9)} Gflop at ${digits(flopsPerSecond / 1e9)} a second and worker`;
  return [["matrices", `${formatCount(matrices)}, about ${formatSeconds(seconds)}: ${rate}`]];
}

export function writePlan(screen: Screen, plan: Plan, all: boolean, vocabulary: string | null = null): void {
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
      ...matrixRows(plan),
      [
        "memory",
        `${formatMemory(memory.peakBytes)} at the peak: ${memory.workers} × ${formatMemory(Math.max(memory.workerBytes, memory.matrixBytes))} for workers, ${formatMemory(memory.surveyBytes)} for surveys, ${formatMemory(memory.runtimeBytes)} for the runtime; limit ${formatMemory(memory.limitBytes)}`,
      ],
      ...(vocabulary === null ? [] : [["vocabulary", vocabulary]]),
      ["policy", `non-finite ${plan.policy.nonFinite}, overflow ${plan.policy.overflow}`],
      ["kernels", `sha256 ${plan.kernelSha256}`],
    ]),
  );
  const base = baseModel(plan);
  title("Inputs");
  screen.write(
    formatTable(
      plan.inputs.map(({ reference, files }, i) => [
        `i${i}`,
        printable(reference),
        i === base ? "base" : "",
        plural(files.length, "file"),
        formatBytes(files.reduce((sum, file) => sum + file.byteLength, 0)),
      ]),
      [4],
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
  const prepared = await prepare(toRequest(await readRecipe(command.recipe, host.cwd, host.signal), command), host);
  const steps = [...prepared.earlier, prepared];
  for (const { warnings } of steps) for (const warning of warnings) warn(warning);
  if (command.json) {
    // One plan is a document; of a file of several recipes it is a list, in their order.
    out.write(`${JSON.stringify(steps.length === 1 ? prepared.plan : steps.map((s) => s.plan))}\n`);
    return 0;
  }
  for (const [i, { plan, recipe, tokenizer, checkpoints }] of steps.entries()) {
    if (steps.length > 1)
      out.write(`${i > 0 ? "\n" : ""}Recipe ${i + 1} of ${steps.length}: ${printable(recipe.name ?? "the output")}\n`);
    const vocabulary = tokenizer.joined && vocabularyText(tokenizer.joined, checkpoints);
    writePlan(out, plan, command.all, vocabulary);
  }
  return 0;
}

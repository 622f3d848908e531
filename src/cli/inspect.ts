// `braid inspect`: what a checkpoint holds, or what one of its tensors looks like.

import { findSimilar } from "@optique/core/suggestion";
import { localFiles } from "../bytes/file.ts";
import { fail, quote } from "../errors.ts";
import { type Checkpoint, openCheckpoint, type TensorInfo } from "../tensor/checkpoint.ts";
import { type ModelLocation, resolveModel } from "../tensor/locate.ts";
import { readPlaces } from "./environment.ts";
import {
  formatBytes,
  formatCount,
  formatParameters,
  formatShape,
  formatShare,
  formatTable,
  formatValue,
  plural,
  printable,
} from "./format.ts";
import type { Context } from "./main.ts";
import type { CommandOf } from "./program.ts";
import { readStatistics, type Statistics } from "./statistics.ts";
import { paint, type Screen, writeDiagnostic } from "./terminal.ts";

/** Rows of the tensor table without --all. */
const tableLimit = 50;
/** Values shown of one tensor. */
const firstValues = 8;

/** The entries of config.json that tell models apart. */
const configKeys = [
  "model_type",
  "dtype",
  "torch_dtype",
  "vocab_size",
  "hidden_size",
  "intermediate_size",
  "num_hidden_layers",
  "num_attention_heads",
  "num_key_value_heads",
  "head_dim",
  "max_position_embeddings",
  "tie_word_embeddings",
] as const;

function parameterCount(checkpoint: Checkpoint): number {
  let sum = 0;
  for (const { count } of checkpoint.tensors.values()) sum += count;
  return sum;
}

/** "BF16 39 tensors, 763,008 elements", the most elements first. */
function dtypeRows(checkpoint: Checkpoint): string[][] {
  const sums = new Map<string, { tensors: number; count: number; bytes: number }>();
  for (const { dtype, count, start, end } of checkpoint.tensors.values()) {
    const sum = sums.get(dtype) ?? { tensors: 0, count: 0, bytes: 0 };
    sums.set(dtype, { tensors: sum.tensors + 1, count: sum.count + count, bytes: sum.bytes + end - start });
  }
  return [...sums]
    .sort(([, a], [, b]) => b.bytes - a.bytes)
    .map(([dtype, { tensors, count, bytes }]) => [
      dtype,
      plural(tensors, "tensor"),
      plural(count, "element"),
      formatBytes(bytes),
    ]);
}

const plainText = (value: unknown): string => printable(typeof value === "string" ? value : JSON.stringify(value));

function writeCheckpoint(screen: Screen, checkpoint: Checkpoint, location: ModelLocation, all: boolean): void {
  const title = (text: string) => screen.write(`\n${paint(screen, "bold", text)}\n`);
  const section = (name: string, rows: string[][], right: number[] = []) => {
    if (rows.length === 0) return;
    title(name);
    screen.write(formatTable(rows, right));
  };
  const tensors = [...checkpoint.tensors.values()];
  screen.write(`${paint(screen, "bold", printable(checkpoint.reference))}  ${printable(checkpoint.folder)}\n`);
  if (location.repo) screen.write(`  ${printable(location.repo)} at ${printable(location.revision ?? "")}\n`);
  screen.write(
    `  ${plural(tensors.length, "tensor")}, ${plural(parameterCount(checkpoint), "parameter")} (${formatParameters(parameterCount(checkpoint))})${checkpoint.tied ? ", head tied to the embeddings" : ""}\n`,
  );
  section(
    "Files",
    checkpoint.files.map(({ name, byteLength }) => [printable(name), formatBytes(byteLength)]),
    [1],
  );
  section("Dtypes", dtypeRows(checkpoint), [1, 2, 3]);
  const { config } = checkpoint;
  if (config) {
    section(
      "Config",
      configKeys.filter((key) => Object.hasOwn(config, key)).map((key) => [key, plainText(config[key])]),
    );
  }
  section(
    "Metadata",
    [...checkpoint.metadata].map(([key, value]) => [printable(key), plainText(value)]),
  );
  const shown = all ? tensors : tensors.slice(0, tableLimit);
  section(
    "Tensors",
    shown.map(({ name, dtype, shape, count }) => [printable(name), dtype, formatShape(shape), formatCount(count)]),
    [3],
  );
  if (shown.length < tensors.length)
    screen.write(`  … and ${formatCount(tensors.length - shown.length)} more (--all shows them)\n`);
}

function writeTensor(screen: Screen, checkpoint: Checkpoint, tensor: TensorInfo, statistics: Statistics | null): void {
  const file = checkpoint.files[tensor.file]!;
  const value = (x: number | null) => (x === null ? "–" : formatValue(x));
  const share = (n: number) => `${formatCount(n)}${tensor.count > 0 ? ` (${formatShare(n / tensor.count)})` : ""}`;
  screen.write(`${paint(screen, "bold", printable(tensor.name))}\n`);
  screen.write(
    formatTable([
      ["dtype", tensor.dtype],
      ["shape", formatShape(tensor.shape)],
      ["elements", formatCount(tensor.count)],
      ["file", printable(file.name)],
      ["bytes", `${tensor.start} to ${tensor.end} (${formatBytes(tensor.end - tensor.start)})`],
      ...(statistics === null
        ? [["values", `${tensor.dtype} is not decoded by inspect`]]
        : [
            ["min", value(statistics.min)],
            ["max", value(statistics.max)],
            ["mean", value(statistics.mean)],
            ["mean |x|", value(statistics.absMean)],
            ["std", value(statistics.std)],
            ["zeros", share(statistics.zeros)],
            ["non-finite", share(statistics.nonFinite)],
            [
              "first",
              `${statistics.first.map(formatValue).join("  ")}${tensor.count > statistics.first.length ? "  …" : ""}`,
            ],
          ]),
    ]),
  );
}

function findTensor(checkpoint: Checkpoint, name: string): TensorInfo {
  const tensor = checkpoint.tensors.get(name);
  if (tensor) return tensor;
  const [nearest] = findSimilar(name, [...checkpoint.tensors.keys()], {
    maxDistance: 8,
    maxDistanceRatio: 0.4,
    maxSuggestions: 1,
  });
  return fail(
    "tensor-missing",
    `Cannot inspect tensor ${quote(name)}: ${quote(checkpoint.reference)} has no tensor of that name`,
    {
      hint:
        nearest === undefined ? "braid inspect without a tensor lists all of them." : `Did you mean ${quote(nearest)}?`,
    },
  );
}

export async function runInspect(command: CommandOf<"inspect">, context: Context): Promise<number> {
  const { out, err } = context.terminal;
  const location = await resolveModel(command.path, readPlaces(context.env), localFiles);
  const checkpoint = await openCheckpoint(command.path, location.folder, { file: location.file });
  const json = (value: unknown) => out.write(`${JSON.stringify(value, null, 2)}\n`);

  if (command.tensor !== undefined) {
    const tensor = findTensor(checkpoint, command.tensor);
    const file = checkpoint.files[tensor.file]!;
    const source = await location.folder.open(file.name);
    try {
      const statistics = await readStatistics(source, tensor, firstValues, context.signal);
      if (command.json) json({ ...tensor, file: file.name, statistics });
      else writeTensor(out, checkpoint, tensor, statistics);
    } finally {
      await source.close();
    }
    return 0;
  }

  for (const warning of checkpoint.warnings) writeDiagnostic(err, "warning", warning);
  if (command.json) {
    const { reference, folder, files, tensors, metadata, config, tied, warnings } = checkpoint;
    const { repo, revision } = location;
    json({
      reference,
      folder,
      ...(repo ? { repo, revision } : {}),
      parameters: parameterCount(checkpoint),
      files: files.map(({ name, byteLength, headerSha256 }) => ({ name, byteLength, headerSha256 })),
      tensors: [...tensors.values()].map((tensor) => ({ ...tensor, file: files[tensor.file]!.name })),
      metadata: Object.fromEntries(metadata),
      config,
      tied,
      warnings,
    });
  } else writeCheckpoint(out, checkpoint, location, command.all);
  return 0;
}

// Checkpoints in fp8 with scales beside their weights: weights become views that are scaled while they are read, and the scales
// are no tensors of the model any more.

import { fail, quote } from "../errors.ts";
import type { ScaledView } from "../kernel/scaled.ts";
import type { Checkpoint, TensorInfo } from "../tensor/checkpoint.ts";
import { isRecord } from "../tensor/config.ts";
import { type FloatDtype, isFloat } from "../tensor/dtype.ts";
import type { InputModel, Override } from "./model.ts";

/** What holds the scales of `<name>.weight`: DeepSeek's blocks, then compressed-tensors and FBGEMM. */
const suffixes = ["_scale_inv", "_scale"];
/** Of activations, for inference in fp8: they mean nothing once a weight is merged. */
const ofActivations = /\.(input_scale|activation_scale|output_scale|[kvq]_scale|input_scale_ub)$/;

/** The model with scaled weights in the place of fp8 ones, as it is where it has none. */
export function withScales(checkpoint: Checkpoint): InputModel {
  const overrides = new Map<string, Override>();
  const hidden = new Set<string>();
  for (const info of checkpoint.tensors.values()) {
    if (info.dtype !== "F8_E4M3" && info.dtype !== "F8_E5M2") continue;
    const scales = suffixes.map((s) => checkpoint.tensors.get(info.name + s)).find((s) => s !== undefined);
    if (!scales) continue;
    overrides.set(info.name, { ...info, dtype: "F32", view: viewOf(checkpoint, info, scales) });
    hidden.add(scales.name);
  }
  if (overrides.size > 0) for (const name of checkpoint.tensors.keys()) if (ofActivations.test(name)) hidden.add(name);
  return { ...checkpoint, overrides, hidden };
}

function viewOf(checkpoint: Checkpoint, weight: TensorInfo, scales: TensorInfo): ScaledView {
  const refuse = (what: string): never =>
    fail("dtype-unsupported", `Cannot read ${quote(weight.name)} of ${quote(checkpoint.reference)}: ${what}`, {
      hint: "Braid reads fp8 scales by tensor, by row, and by blocks (quantization_config.weight_block_size).",
    });
  const shapes = `it is [${weight.shape.join(", ")}], its scales ${quote(scales.name)} are [${scales.shape.join(", ")}]`;
  if (!isFloat(scales.dtype)) refuse(`its scales ${quote(scales.name)} are ${scales.dtype}`);
  const columns = weight.shape.at(-1) ?? 1;
  const rows = columns === 0 ? 0 : weight.count / columns;
  const [blockRows, blockColumns] = blockOf(checkpoint, rows, columns, scales) ?? refuse(shapes);
  const place = ({ file, start, dtype }: TensorInfo) => ({ file, start, dtype: dtype as FloatDtype });
  return {
    op: "scaled",
    columns,
    weight: place(weight),
    scales: place(scales),
    scaleCount: scales.count,
    blockRows,
    blockColumns,
  };
}

/** Rows and columns that share a scale, or null where the shapes do not say. */
function blockOf(
  { config }: Checkpoint,
  rows: number,
  columns: number,
  { shape, count }: TensorInfo,
): [rows: number, columns: number] | null {
  if (count === 1) return [Math.max(1, rows), Math.max(1, columns)];
  if (count === rows && (shape.length === 1 || shape.at(-1) === 1)) return [1, columns];
  const quantization = config && isRecord(config.quantization_config) ? config.quantization_config : {};
  const size = quantization.weight_block_size;
  const [h, w] = Array.isArray(size) ? (size as unknown[]) : [128, 128];
  if (!isCount(h) || !isCount(w) || shape.length < 2) return null;
  const fits = shape.at(-1) === Math.ceil(columns / w) && count / shape.at(-1)! === Math.ceil(rows / h);
  return fits ? [h, w] : null;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

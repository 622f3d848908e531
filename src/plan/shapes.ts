// What the tensors of a plan ask of memory.

import { lineCount } from "../kernel/lines.ts";
import { matrixTaskBytes } from "../kernel/matrix-cost.ts";
import { rowColumns, type Survey } from "../kernel/program.ts";
import { readerBytes } from "../kernel/view.ts";
import { byteWidth } from "../tensor/dtype.ts";
import { openTensors, type Shapes } from "./memory.ts";
import { type PlanTensor, readWidth } from "./plan.ts";

/** `headerBytes`: of all models. `tokens`: of the vocabularies that rows are matched by. */
export function shapesOf(tensors: readonly PlanTensor[], headerBytes: number, tokens: number): Shapes {
  const viewBytes = (t: PlanTensor) => t.inputs.reduce((sum, i) => sum + readerBytes(i), 0);
  return {
    inputs: Math.max(...tensors.map((t) => Math.max(t.inputs.length, ...t.surveys.map(widthOf)))),
    bytesPerElement: Math.max(
      ...tensors.map((t) => t.inputs.reduce((sum, i) => sum + byteWidth(i.dtype), byteWidth(t.dtype))),
    ),
    surveyOperands: Math.max(...tensors.map((t) => Math.max(0, ...t.surveys.map(widthOf)))),
    lineBytes: lineBytes(tensors),
    viewBytes: Math.max(...tensors.map(viewBytes)),
    rows: tensors.flatMap((t) => {
      const columns = t.program.op === "merge" ? rowColumns(t.program.terms) : 0;
      if (columns === 0) return [];
      const inputs = Math.max(t.inputs.length, ...t.surveys.map((s) => s.operands.length));
      return [{ columns, inputs, bytesPerElement: readWidth(t) + byteWidth(t.dtype) }];
    }),
    matrices: matricesOf(tensors).map(({ tensor, program }) => ({
      name: tensor.name,
      shape: tensor.shape,
      bytes: matrixTaskBytes(program, viewBytes(tensor)),
    })),
    parameters: parametersOf(tensors),
    headerBytes,
    runs: runsOf(tensors),
    tokens,
  };
}

export const parametersOf = (tensors: readonly PlanTensor[]): number => tensors.reduce((sum, t) => sum + t.count, 0);

/** Tensors that are merged as whole matrices. */
export function matricesOf(tensors: readonly PlanTensor[]) {
  return tensors.flatMap((t) => (t.program.op === "matrix" ? [{ tensor: t, program: t.program }] : []));
}

/** Operands of a survey's widest round: a window has two ends to look for. */
function widthOf(survey: Survey): number {
  if (survey.op !== "threshold") return survey.operands.length;
  return survey.operands.reduce((sum, o) => sum + (o.gamma === undefined ? 1 : 2), 0);
}

/** Bytes of the sums and coefficients of lines, for the tensors that need most of them and may be open together. */
function lineBytes(tensors: readonly PlanTensor[]): number {
  const each = tensors.map(({ surveys, count }) =>
    surveys.reduce((sum, s) => {
      if (s.op !== "dots" || !s.lines) return sum;
      const n = s.operands.length;
      return sum + lineCount(s.lines, count) * ((n * (n + 1)) / 2 + n) * 8;
    }, 0),
  );
  return each
    .sort((a, b) => b - a)
    .slice(0, openTensors)
    .reduce((sum, bytes) => sum + bytes, 0);
}

/** Runs of all views of rows; tensors that share a layout share them. */
function runsOf(tensors: readonly PlanTensor[]): number {
  const lists = new Set(
    tensors.flatMap((t) => t.inputs.flatMap(({ view }) => (view?.op === "rows" ? [view.runs] : []))),
  );
  return [...lists].reduce((sum, runs) => sum + runs.length, 0);
}

// The plan: recipe + headers → JSON that says everything that will happen. Pure data; nothing here reads a tensor byte.

import type { Location, Policy, Program, Survey, TaskInput } from "../kernel/program.ts";
import { byteWidth, type Dtype } from "../tensor/dtype.ts";

export interface PlanInput {
  /** As the recipe spells it. */
  readonly reference: string;
  readonly folder: string;
  readonly files: readonly PlanFile[];
}

export interface PlanFile {
  readonly location: string;
  readonly byteLength: number;
  readonly headerSha256: string;
}

export interface PlanOutputFile {
  /** Basename in the output folder. */
  readonly name: string;
  readonly byteLength: number;
  /** The safetensors header, 8 length bytes included, in base64. */
  readonly header: string;
}

/** One output tensor: where its inputs lie, what is surveyed, and the program that makes it. */
export interface PlanTensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly count: number;
  /** Index into `inputFiles`, and the byte where the tensor starts. */
  readonly inputs: readonly (TaskInput & { readonly dtype: Dtype; readonly model: number; readonly tensor: string })[];
  /** Index into `outputs`, and the byte where the tensor starts. */
  readonly output: Location;
  readonly surveys: readonly Survey[];
  readonly program: Program;
  /** What `solve` of the method is given besides the survey results. */
  readonly solve: Readonly<Record<string, unknown>>;
}

/** Bytes read for an element of a tensor when it is merged. A matrix reads the base with each model, and once more at the end. */
export function readWidth({ inputs, program }: PlanTensor): number {
  const once = inputs.reduce((sum, i) => sum + byteWidth(i.dtype), 0);
  return once + (program.op === "matrix" ? program.terms.length * byteWidth(program.inputs[program.base]!) : 0);
}

export interface PlanMemory {
  /** As asked, or as many as matrices leave memory for. */
  readonly workers: number;
  /** Elements of a slice (the unit of work) and of a stride (what a worker holds at a time). */
  readonly sliceElements: number;
  readonly strideElements: number;
  /** Bytes of tensor data that one worker holds. */
  readonly workerBytes: number;
  /** What a worker's memory grows to at the largest matrix, or 0. */
  readonly matrixBytes: number;
  /** Bytes of the coordinator for surveys in flight. */
  readonly surveyBytes: number;
  /** The runtime itself, as measured; what `peakBytes` adds to the rest. */
  readonly runtimeBytes: number;
  readonly peakBytes: number;
  readonly limitBytes: number;
}

export interface Plan {
  readonly format: "braid-plan-1";
  readonly method: string;
  readonly seed: string;
  readonly kernelSha256: string;
  readonly inputs: readonly PlanInput[];
  /** All input files, flat: what `Location.file` of an input means. */
  readonly inputFiles: readonly PlanFile[];
  readonly outputs: readonly PlanOutputFile[];
  readonly tensors: readonly PlanTensor[];
  readonly policy: Policy;
  readonly parameters: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** Floating-point operations of matrix programs, about. */
  readonly flops: number;
  readonly memory: PlanMemory;
}

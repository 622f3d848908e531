// The plan: recipe + headers → JSON that says everything that will happen. Pure data; nothing here reads a tensor byte.

import type { Location, Policy, Program, Survey, TaskInput } from "../kernel/program.ts";
import type { Dtype } from "../tensor/dtype.ts";

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

export interface PlanMemory {
  readonly workers: number;
  /** Elements of a slice (the unit of work) and of a stride (what a worker holds at a time). */
  readonly sliceElements: number;
  readonly strideElements: number;
  /** Bytes of tensor data that one worker holds. */
  readonly workerBytes: number;
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
  readonly memory: PlanMemory;
}

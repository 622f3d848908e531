/**
 * Braid as a library. `prepare` plans, `merge` merges; both take a `Host`, which says where files, threads and clocks are
 * (src/cli/host.ts builds the one of the command line).
 *
 * @module
 */

export { mergeAsAdapter } from "./adapter-merge.ts";
export type { FileIdentity, FileSystem, Folder } from "./bytes/source.ts";
export {
  BraidError,
  type Diagnostic,
  type ErrorKind,
  errorKinds,
  exitCodes,
  formatDiagnostic,
  isBraidError,
} from "./errors.ts";
export type { Executor, Job } from "./exec/executor.ts";
export { createInlineExecutor } from "./exec/inline.ts";
export { defaultExtraction, type ExtractRequest, extract } from "./extract.ts";
export {
  defaultRequest,
  type FileHash,
  type Host,
  type MergeEvent,
  type MergeProfile,
  type MergeRequest,
  type MergeSummary,
} from "./host.ts";
export { compileKernel, createKernel, kernelSha256 } from "./kernel/kernel.ts";
export { maskKey, maskRescale, maskThreshold } from "./kernel/mask.ts";
export { type MergeOptions, merge } from "./merge.ts";
export { catalogue, methods } from "./methods/index.ts";
export type { Plan, PlanTensor } from "./plan/plan.ts";
export { type Prepared, prepare } from "./prepare.ts";
export { Profiler } from "./profile.ts";
export { recipeJsonSchema } from "./recipe/schema.ts";
export { type Checkpoint, openCheckpoint } from "./tensor/checkpoint.ts";
export { encodeHeader } from "./tensor/encode.ts";
export { type Header, parseHeader } from "./tensor/header.ts";
export { traceText } from "./trace.ts";
export type { AdapterSummary } from "./write-adapter.ts";

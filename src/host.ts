// What the library needs from the world around it. Entries (the CLI, a page, a node) build one; everything below takes it as
// a parameter, so no file but an entry touches the clock, the environment, the console or the process.

import type { FileIdentity, FileSystem } from "./bytes/source.ts";
import type { Stage, StageOptions } from "./bytes/stage.ts";
import type { Diagnostic } from "./errors.ts";
import type { Executor, Job } from "./exec/executor.ts";
import type { Phase } from "./kernel/phases.ts";
import type { Elsewhere } from "./plan/memory.ts";
import type { Plan } from "./plan/plan.ts";
import type { FloatDtype } from "./tensor/dtype.ts";

/** What happens during a merge, for progress lines, logs and wrappers. */
export type MergeEvent =
  | { readonly type: "warning"; readonly diagnostic: Diagnostic }
  /** `out` is where that plan's merge goes. */
  | { readonly type: "plan"; readonly plan: Plan; readonly out: string }
  /** At most a few times a second. Bytes count what is read and written, surveys included. */
  | {
      readonly type: "progress";
      readonly doneBytes: number;
      readonly totalBytes: number;
      readonly tensor: string;
      readonly seconds: number;
    }
  | { readonly type: "hashing"; readonly file: string };

export interface Host {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
  /** Cores that workers may use. */
  readonly cores: number;
  /** Milliseconds, monotonic. */
  now(): number;
  /** Wall clock, for the model card and the manifest. */
  today(): Date;
  /** e.g. "bun 1.4.5". */
  readonly runtime: string;
  /** Gives back to the system what is not used any more, where the runtime lets it. Costs some 10 ms for a large plan. */
  collect(): void;
  /** Peak resident set size of this process in bytes, or null where it cannot be known. */
  peakMemory(): number | null;
  /** Where models and recipes are looked for. */
  readonly fs: FileSystem;
  /** A staged output: nothing of it looks finished until it is committed. */
  openStage(out: string, options: Omit<StageOptions, "lockInfo">): Promise<Stage>;
  /** Throws `input-changed` when a local file is no longer what it was when its header was read. */
  assertUnchanged(path: string, before: FileIdentity): void;
  /** Starts to hash a file that others are still writing; `worked` is told when a turn of hashing ends, and when it began. */
  hashFile(path: string, worked?: (start: number) => void): FileHash;
  /** Sends what was written of a file so far to the disk, in the background: the final sync then has little left. */
  flush(path: string): Promise<void>;
  /** Removes a folder of merges that were only steps, and all in it. */
  removeFolder(path: string): Promise<void>;
  /** Brings a range of an input into the system's memory, until the signal says stop. */
  readAhead(path: string, start: number, end: number, signal: AbortSignal): Promise<void>;
  /** Bytes that this process has had the disk read so far, or null where the system does not count them. */
  diskBytes(): number | null;
  createExecutor(job: Job, workers: number): Executor | Promise<Executor>;
  report(event: MergeEvent): void;
  readonly signal: AbortSignal;
}

/** SHA-256 of a file that grows complete from its start. */
export interface FileHash {
  /** Bytes before `end` will not change any more. */
  advance(end: number): void;
  /** The digest in hex, once the whole file is final. */
  finish(signal: AbortSignal): Promise<string>;
  /** Gives up. */
  close(): void;
}

/** What a user can ask of a merge beside the recipe. Every field has its default in `defaultRequest`. */
export interface MergeRequest {
  /** Text of the recipe and the name it has in messages. */
  readonly recipe: { readonly text: string; readonly file: string; readonly folder: string };
  readonly workers: number | null;
  /** Ceiling for the whole process in bytes. */
  readonly memoryBytes: number;
  readonly sliceElements: number | null;
  /** Workers that are not on this machine; slices are made for them too. */
  readonly elsewhere?: Elsewhere;
  /** Overrides the recipe's random_seed. */
  readonly seed: string | null;
  /** "mergekit": mergekit 0.1.5's choices wherever the field differs. */
  readonly compat: "none" | "mergekit";
  readonly nonFinite: "error" | "keep" | "base";
  readonly overflow: "error" | "saturate" | "inf";
  /** How results are stored in a dtype narrower than f32: to the nearest even, or up or down by chance, unbiased. */
  readonly rounding: "nearest" | "stochastic";
  readonly outShardBytes: number;
  /** Instead of the recipe's dtypes. */
  readonly outDtype?: "float32";
  readonly copyTokenizer: boolean;
  readonly writeModelCard: boolean;
  readonly allowMissing: boolean;
  /** The dtype that folding an adapter rounds to; null: f32, or with `compat: "mergekit"` each weight's own. */
  readonly loraMergeDtype: FloatDtype | null;
  /** Hash the output files. Without it `sha256` is null wherever a file is described. */
  readonly checksum: boolean;
  /**
   * Bring the output to stable storage before it gets its name. Without it, a merge that was killed still leaves nothing that
   * looks finished, but a power failure soon after a finished one may.
   */
  readonly sync: boolean;
}

export const defaultRequest: Omit<MergeRequest, "recipe"> = {
  workers: null,
  memoryBytes: 256 * 1024 * 1024,
  sliceElements: null,
  seed: null,
  compat: "none",
  nonFinite: "error",
  overflow: "error",
  rounding: "nearest",
  outShardBytes: 5e9,
  copyTokenizer: true,
  writeModelCard: true,
  allowMissing: false,
  loraMergeDtype: null,
  checksum: true,
  sync: true,
};

/** The coordinator's steps, in their order. */
export type MergeStep = "plan" | "stage" | "merge" | "sync" | "hash" | "files" | "commit";

type Phases = Readonly<Record<Phase, number>>;

/** Where the time of a merge went, in seconds (docs/profile.md). */
export interface MergeProfile {
  readonly seconds: number;
  /** One after the other. `hash` is what was left to hash when all was written. */
  readonly steps: readonly { readonly name: MergeStep; readonly seconds: number }[];
  /** Beside them, while workers merge: hashing what is final, and sending it to the disk. */
  readonly beside: { readonly hash: number; readonly flush: number };
  /** Of tasks that merge and of tasks that survey, added up over the workers. */
  readonly phases: { readonly merge: Phases; readonly survey: Phases };
  /** During the step `merge` a worker starts, is busy or waits; its phases add up to its busy time. */
  readonly workers: readonly {
    readonly worker: number;
    readonly tasks: number;
    readonly busy: number;
    readonly start: number;
    readonly wait: number;
    readonly phases: Phases;
  }[];
  /** How `phases.merge.merge`, the time of the fused kernels, divides: an estimate. Null where none ran. */
  readonly fused: {
    readonly estimatedFromEvery: number;
    /** Tiles that were looked at. */
    readonly tiles: number;
    readonly check: number;
    readonly decode: number;
    readonly combine: number;
    readonly encode: number;
  } | null;
}

/** What a merge did. The CLI prints it; `--json` gives it as it is. */
export interface MergeSummary {
  readonly out: string;
  readonly method: string;
  readonly models: readonly string[];
  readonly tensors: number;
  readonly parameters: number;
  /** Less than planned where thresholds were known beforehand: tensors of which a sample was sure are read once. */
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly seconds: number;
  readonly workers: number;
  /** What the workers spent, added up over them. */
  readonly workerSeconds: { readonly read: number; readonly compute: number; readonly write: number };
  /** Per non-base model of a method that drops at random: asked and actual drop rate over all tensors. */
  readonly dropRates: readonly { readonly model: string; readonly asked: number | null; readonly actual: number }[];
  /** Per model of a method that trims by magnitude: the density that was realised. */
  readonly densities: readonly { readonly model: string; readonly asked: number | null; readonly actual: number }[];
  readonly nonFinite: readonly {
    readonly model: string;
    readonly tensor: string;
    readonly count: number;
    readonly first: number;
  }[];
  readonly overflow: number;
  /** Of methods on whole matrices: e.g. the ranks that they kept, over tensors and models, and where least and most was. */
  readonly methodFacts: readonly {
    readonly fact: string;
    readonly tensors: number;
    readonly mean: number;
    readonly least: { readonly tensor: string; readonly value: number };
    readonly most: { readonly tensor: string; readonly value: number };
  }[];
  readonly peakMemoryBytes: number | null;
  readonly plannedPeakBytes: number;
  readonly planSha256: string;
  readonly files: readonly { readonly name: string; readonly byteLength: number; readonly sha256: string | null }[];
  readonly warnings: readonly Diagnostic[];
  /** Of a file of several recipes: what came before the last. */
  readonly earlier?: readonly MergeSummary[];
  readonly profile?: MergeProfile;
}

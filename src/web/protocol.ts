// What the page and its coordinator say to each other.

import type { WireError } from "../exec/messages.ts";
import type { MergeRequest, MergeSummary } from "../host.ts";
import type { Mount } from "./mounts.ts";
import type { FolderHandle } from "./platform.ts";

export interface RecipeText {
  readonly text: string;
  readonly file: string;
}

export type Settings = Partial<Omit<MergeRequest, "recipe">>;

export interface MergeOrder {
  readonly recipe: RecipeText;
  readonly settings: Settings;
  readonly mounts: readonly Mount[];
  readonly out: string;
  readonly overwrite: boolean;
  readonly folder: FolderHandle | null;
}

export type ToCoordinator =
  | { readonly type: "plan"; readonly id: number; readonly order: MergeOrder }
  | { readonly type: "merge"; readonly id: number; readonly order: MergeOrder }
  | { readonly type: "cancel"; readonly id: number };

/** What a plan comes to, for people. */
export interface PlanFacts {
  readonly method: string;
  readonly tensors: number;
  readonly parameters: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly peakBytes: number;
  readonly workers: number;
  readonly planSha256: string;
  readonly warnings: readonly string[];
}

export interface ProgressFacts {
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly seconds: number;
  readonly tensor: string;
}

export type FromCoordinator =
  | { readonly type: "planned"; readonly id: number; readonly facts: PlanFacts }
  | { readonly type: "progress"; readonly id: number; readonly facts: ProgressFacts }
  | { readonly type: "note"; readonly id: number; readonly text: string }
  | { readonly type: "merged"; readonly id: number; readonly summary: MergeSummary }
  | { readonly type: "failed"; readonly id: number; readonly error: WireError };

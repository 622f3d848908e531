// What a coordinator of work elsewhere is given, whoever does the work.

import type { Executor, Job } from "../exec/executor.ts";
import type { Opener } from "../exec/files.ts";
import type { Clock } from "./clock.ts";
import type { OwnKernels } from "./kernels.ts";
import type { NodeLimits } from "./limits.ts";
import type { NodeReport } from "./member.ts";

/** Failures of a task elsewhere before it is done locally. */
export const maxAttempts = 4;
/** How often a coordinator looks at who takes too long. */
export const tickMs = 100;

export interface CoordinatorTerms {
  readonly job: Job;
  readonly opener: Opener;
  /** Runs tasks beside the others; null: only they do. */
  readonly local: Executor | null;
  /** Called once, when there is no `local` and the others cannot do it, or do not. */
  readonly fallback: () => Executor;
  /** For audits. */
  readonly kernels: OwnKernels;
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly today: () => number;
  /** In [0, 1): chooses what is audited. */
  readonly random: () => number;
  readonly report: (report: NodeReport) => void;
  readonly limits?: Partial<NodeLimits>;
}

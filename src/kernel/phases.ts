// Where the time of a task went: what a receipt tells of it.

/** Where a task's time went. */
export interface Nanoseconds {
  readonly read: number;
  readonly compute: number;
  readonly write: number;
}

/**
 * Where it went under --profile. Between `read` and `write`: the scan for non-finite values and differing bytes, dtype → f32,
 * random masks, arithmetic between tiles of f32 (delta, select, trim, elect …), f32 → dtype, the fused kernels that do these at
 * once, the statistics of surveys with the arithmetic before them, steps run again to learn how fused time divides, the rest.
 */
export const phases = [
  "read",
  "check",
  "decode",
  "mask",
  "combine",
  "encode",
  "merge",
  "survey",
  "probe",
  "other",
  "write",
] as const;
export type Phase = (typeof phases)[number];

/** What the separate steps took on the tiles that were probed, in nanoseconds. The mask is not among them: it is never fused. */
export interface ProbeShares {
  readonly tiles: number;
  readonly check: number;
  readonly decode: number;
  readonly combine: number;
  readonly encode: number;
}

export interface TaskProfile {
  /** Counted from 0 in the order in which workers were started. */
  readonly worker: number;
  /** Milliseconds on the coordinator's clock. */
  readonly start: number;
  readonly end: number;
  /** In nanoseconds; they add up to the whole task. */
  readonly phases: Readonly<Record<Phase, number>>;
  readonly probe: ProbeShares;
}

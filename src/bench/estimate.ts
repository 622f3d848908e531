// What a merge of a model would take, from the figures of a machine.

/** Bytes per second, or null where it was not measured. */
export interface Rates {
  readonly copy: number;
  readonly sha256: number;
  readonly read: number | null;
  readonly write: number | null;
}

export interface Work {
  /** Of computing, added up over the workers. */
  readonly nsPerParameter: number;
  readonly bytesReadPerParameter: number;
  readonly bytesWrittenPerParameter: number;
}

export interface Estimate {
  readonly seconds: number;
  readonly limit: "processor" | "disk" | "hash";
  /** Each as if the others took no time. */
  readonly processor: number;
  readonly disk: number | null;
  readonly hash: number;
}

/**
 * The three go on at the same time, so the slowest one says how long it takes. The processor computes and copies, on all
 * workers; the disk reads inputs, once more for each survey, and writes; one thread hashes what was written.
 */
export function estimate(parameters: number, work: Work, rates: Rates, workers: number): Estimate {
  const read = work.bytesReadPerParameter * parameters;
  const written = work.bytesWrittenPerParameter * parameters;
  const processor = ((work.nsPerParameter * parameters) / 1e9 + (read + written) / rates.copy) / workers;
  const disk = rates.read === null || rates.write === null ? null : read / rates.read + written / rates.write;
  const hash = written / rates.sha256;
  const seconds = Math.max(processor, disk ?? 0, hash);
  const limit = seconds === disk ? "disk" : seconds === processor ? "processor" : "hash";
  return { seconds, limit, processor, disk, hash };
}

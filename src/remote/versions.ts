// Which bytes the files of a job hold: what others must find there too. Each is looked at once.

import type { Job } from "../exec/executor.ts";
import type { Opener } from "../exec/files.ts";
import { pathVersion, targetVersion } from "./places.ts";

export class Versions {
  private readonly job: Job;
  private readonly opener: Opener;
  private readonly known = new Map<number, Promise<string>>();

  constructor(job: Job, opener: Opener) {
    this.job = job;
    this.opener = opener;
  }

  /** By the file's index in the job. */
  of(file: number): Promise<string> {
    let version = this.known.get(file);
    if (!version) {
      version = this.look(file);
      this.known.set(file, version);
    }
    return version;
  }

  private async look(file: number): Promise<string> {
    const { path, mode } = this.job.files[file]!;
    const source = await this.opener.source(path);
    try {
      return mode === "write" ? targetVersion(source) : pathVersion(source);
    } finally {
      await source.close();
    }
  }
}

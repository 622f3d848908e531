// The files of a job as their coordinator uses them: it reads inputs, writes outputs, and looks at what others wrote there.

import type { Job } from "../exec/executor.ts";
import { JobFiles, type Opener } from "../exec/files.ts";
import type { MergeTask } from "../kernel/program.ts";
import { sliceStart } from "./kernels.ts";
import type { Range } from "./ranges.ts";

export class OutputFiles extends JobFiles {
  private readonly job: Job;
  private readonly open: Opener;

  constructor(job: Job, opener: Opener) {
    super(job.files, opener);
    this.job = job;
    this.open = opener;
  }

  readRange({ file, start }: Range, target: Uint8Array): void | Promise<void> {
    return this.read({ file, start }, 0, target);
  }

  /** Writes what came of a task into its place. */
  writeSlice(task: MergeTask, output: Uint8Array): void | Promise<void> {
    return this.write(task.output, sliceStart(task) - task.output.start, output);
  }

  /** Reads what is in an output now. It is opened anew: on a network's file system that is what shows what another machine wrote. */
  async readBack(file: number, start: number, target: Uint8Array): Promise<void> {
    const source = await this.open.source(this.job.files[file]!.path);
    try {
      await source.read(start, target);
    } finally {
      await source.close();
    }
  }

  /** Brings an output that others wrote to stable storage, unless the job leaves that to the system. */
  async syncPlace(file: number): Promise<void> {
    const sink = await this.open.sink(this.job.files[file]!.path);
    try {
      await sink.sync();
    } finally {
      await sink.close();
    }
  }
}

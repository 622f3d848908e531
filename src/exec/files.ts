// The files of a job, opened when a task first names them. A worker reads straight into its WebAssembly memory and writes
// straight out of it, so this is all the I/O there is between a disk and the kernels.

import type { ByteSink } from "../bytes/sink.ts";
import type { ByteSource } from "../bytes/source.ts";
import type { Location } from "../kernel/program.ts";
import type { TaskIo } from "../kernel/run.ts";
import type { JobFile } from "./executor.ts";

/** How a path of a job becomes something to read from or write to. */
export interface Opener {
  source(path: string): ByteSource | Promise<ByteSource>;
  /** Opens an existing file for positioned writes. */
  sink(path: string): ByteSink | Promise<ByteSink>;
}

/**
 * Inputs that one worker holds open; the one opened first goes. Eight workers stay below the usual limit of 1,024 open files
 * even when a 70B model comes in 30 shards from five models.
 */
export const maxOpenSources = 64;

export class JobFiles implements TaskIo {
  private readonly files: readonly JobFile[];
  private readonly opener: Opener;
  private readonly sources = new Map<number, ByteSource>();
  private readonly sinks = new Map<number, ByteSink>();

  constructor(files: readonly JobFile[], opener: Opener) {
    this.files = files;
    this.opener = opener;
  }

  read(at: Location, offset: number, target: Uint8Array): void | Promise<void> {
    const open = this.sources.get(at.file);
    if (open) return open.read(at.start + offset, target);
    return this.openSource(at.file, (source) => source.read(at.start + offset, target));
  }

  write(at: Location, offset: number, data: Uint8Array): void | Promise<void> {
    const open = this.sinks.get(at.file);
    if (open) return open.write(at.start + offset, data);
    return this.openSink(at.file, (sink) => sink.write(at.start + offset, data));
  }

  /** Brings every output that this worker wrote to stable storage. */
  async sync(): Promise<void> {
    for (const sink of this.sinks.values()) await sink.sync();
  }

  /** Closes everything, even when one close fails; the first failure is thrown. */
  async close(): Promise<void> {
    const open = [...this.sources.values(), ...this.sinks.values()];
    this.sources.clear();
    this.sinks.clear();
    const failures: unknown[] = [];
    for (const file of open) {
      try {
        await file.close();
      } catch (e) {
        failures.push(e);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  private openSource(index: number, then: (source: ByteSource) => void | Promise<void>): void | Promise<void> {
    const evicted = this.evict();
    const opened = this.opener.source(this.file(index, "read").path);
    const keep = (source: ByteSource) => {
      this.sources.set(index, source);
      return then(source);
    };
    if (evicted) return evicted.then(() => opened).then(keep);
    return opened instanceof Promise ? opened.then(keep) : keep(opened);
  }

  private openSink(index: number, then: (sink: ByteSink) => void | Promise<void>): void | Promise<void> {
    const opened = this.opener.sink(this.file(index, "write").path);
    const keep = (sink: ByteSink) => {
      this.sinks.set(index, sink);
      return then(sink);
    };
    return opened instanceof Promise ? opened.then(keep) : keep(opened);
  }

  /** A Map iterates in order of insertion, so its first key was opened first. */
  private evict(): void | Promise<void> {
    if (this.sources.size < maxOpenSources) return;
    const [index, source] = this.sources.entries().next().value!;
    this.sources.delete(index);
    return source.close();
  }

  private file(index: number, mode: JobFile["mode"]): JobFile {
    const file = this.files[index];
    if (!file) throw new RangeError(`A task names file ${index}; the job has ${this.files.length}`);
    if (file.mode !== mode)
      throw new TypeError(`A task wants to ${mode} file ${index}, which the job opens to ${file.mode}`);
    return file;
  }
}

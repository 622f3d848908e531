// Tasks whose files are all on the node's own disk: read and written where they are, by the thread that computes.

import type { ByteSink } from "../bytes/sink.ts";
import type { ByteSource } from "../bytes/source.ts";
import { fail } from "../errors.ts";
import type { Opener } from "../exec/files.ts";
import type { TaskIo } from "../kernel/run.ts";
import type { Target } from "./wire.ts";

/** A path's version: another one means other bytes. */
export const pathVersion = (source: ByteSource): string =>
  source.identity ? `${source.identity.size}-${source.identity.mtimeNs}` : String(source.byteLength);

/** Which file an output is while it fills. The inode is the same for all machines that share a file system. */
export const targetVersion = (source: ByteSource): string =>
  source.identity ? `${source.identity.size}-${source.identity.ino}` : "none";

/** The files of a task, all of them below allowed roots and with links followed. */
export interface TaskPlaces {
  readonly inputs: readonly { readonly file: number; readonly path: string; readonly version: string }[];
  /** Null: the output is carried. */
  readonly output: Target | null;
}

export interface PlacedIo {
  readonly io: TaskIo;
  /** Closes every file: on a network's file system that is when others see what was written. */
  close(): Promise<void>;
}

/**
 * Opens what a task reads and writes.
 *
 * @throws BraidError `input-changed` when a file is not the one that was meant; I/O errors as they are.
 */
export async function openPlaces(
  { inputs, output }: TaskPlaces,
  opener: Opener,
  carried: TaskIo["write"],
): Promise<PlacedIo> {
  const sources = new Map<number, ByteSource>();
  let sink: ByteSink | null = null;
  let size = 0;
  const close = async () => {
    for (const source of sources.values()) await source.close();
    await sink?.close();
  };
  try {
    for (const { file, path, version } of inputs) {
      const source = await opener.source(path);
      sources.set(file, source);
      if (pathVersion(source) !== version) fail("input-changed", "An input is not the one that was planned with");
    }
    if (output) {
      const before = await opener.source(output.path);
      const version = targetVersion(before);
      size = before.byteLength;
      await before.close();
      if (version !== output.version) fail("input-changed", "The output is not the file that was meant");
      sink = await opener.sink(output.path);
    }
  } catch (e) {
    await close();
    throw e;
  }
  const target = sink;
  return {
    io: {
      read({ file, start }, offset, bytes) {
        const source = sources.get(file);
        if (!source) throw new RangeError(`the task reads file ${file}, which it did not name`);
        return source.read(start + offset, bytes);
      },
      write: target
        ? ({ start }, offset, bytes) => {
            // A slice lies in its file: nobody makes the file longer by a task.
            if (start + offset + bytes.length > size)
              throw new RangeError("the task writes beyond the end of its output");
            return target.write(start + offset, bytes);
          }
        : carried,
    },
    close,
  };
}

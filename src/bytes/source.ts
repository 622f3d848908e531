// Where bytes come from. One interface for files, blobs and HTTP ranges, so that readers above know none of them.

/** What tells one state of a local file from another. Nanoseconds and inodes are strings: they do not fit a number. */
export interface FileIdentity {
  readonly dev: string;
  readonly ino: string;
  readonly size: number;
  readonly mtimeNs: string;
  readonly ctimeNs: string;
}

/**
 * A readable range of bytes of fixed length.
 *
 * `read` fills `target` whole from byte `start`, or throws: a short read is an error that names the source. It may answer
 * at once (local files do, straight into WebAssembly memory) or with a promise.
 */
export interface ByteSource {
  /** For messages: a path or an address without secrets. */
  readonly name: string;
  readonly byteLength: number;
  /** Of a local file, taken when it was opened. */
  readonly identity?: FileIdentity;
  read(start: number, target: Uint8Array): void | Promise<void>;
  close(): void | Promise<void>;
}

/** A folder of a checkpoint: a flat list of names that can be opened. */
export interface Folder {
  /** For messages: a path or an address without secrets. */
  readonly name: string;
  /** Names of the plain files in it, sorted; no sub-folders. */
  list(): Promise<string[]>;
  open(file: string): Promise<ByteSource>;
  /** Where workers find a file of this folder: a path, or an address. */
  locate(file: string): string;
}

/** The little of a file system that finding a model takes. */
export interface FileSystem {
  /** What a path leads to, links followed; null where there is nothing to read. */
  kind(path: string): "file" | "folder" | null;
  /** A small text file, at most `limit` bytes. */
  readText(path: string, limit: number): string;
  /** `path` as seen from the folder `from`, absolute. */
  resolve(from: string, path: string): string;
  /** The folder and the last part of a path. */
  split(path: string): { folder: string; file: string };
  folder(path: string): Folder;
}

/** All bytes of a source that is at most `limit` bytes long; `refuse` is told the length of a longer one. */
export async function readWhole(
  source: ByteSource,
  limit: number,
  refuse: (byteLength: number) => never,
): Promise<Uint8Array> {
  if (source.byteLength > limit) refuse(source.byteLength);
  const bytes = new Uint8Array(source.byteLength);
  await source.read(0, bytes);
  return bytes;
}

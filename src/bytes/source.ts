// Where bytes come from. One interface for files, blobs and HTTP ranges, so that readers above know none of them.

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

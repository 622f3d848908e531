// Where bytes go. Chunks are shaped like FileSystemWritableFileStream's `{type: "write", position, data}`, so that a
// browser's file handle can stand behind it.

export interface ByteSink {
  readonly name: string;
  write(position: number, data: Uint8Array): void | Promise<void>;
  /** Returns when the data is on stable storage. */
  sync(): void | Promise<void>;
  close(): void | Promise<void>;
}

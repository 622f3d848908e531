// What a page's worker has and the types of a document do not tell.

/** An open file of the origin's private file system: positioned and synchronous, as the kernels like it. */
export interface SyncAccessHandle {
  read(target: Uint8Array, options: { at: number }): number;
  write(data: Uint8Array, options: { at: number }): number;
  truncate(byteLength: number): void;
  getSize(): number;
  flush(): void;
  close(): void;
}

/** A handle of a private or picked file, with what only some browsers have. */
export type FileHandle = FileSystemFileHandle & {
  /** Without a mode the file is locked; with it several workers may hold one file open (Chromium 121). */
  createSyncAccessHandle(options?: { mode: "readwrite-unsafe" }): Promise<SyncAccessHandle>;
  move?(name: string): Promise<void>;
};

export type FolderHandle = FileSystemDirectoryHandle & {
  keys(): AsyncIterableIterator<string>;
  values(): AsyncIterableIterator<FileSystemHandle>;
  queryPermission?(options: { mode: "readwrite" }): Promise<PermissionState>;
  requestPermission?(options: { mode: "readwrite" }): Promise<PermissionState>;
};

/** Reads blobs at once; workers have it. */
declare const FileReaderSync: { new (): { readAsArrayBuffer(blob: Blob): ArrayBuffer } };

export function readBlob(blob: Blob): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new FileReaderSync().readAsArrayBuffer(blob));
}

export const privateRoot = (): Promise<FolderHandle> => navigator.storage.getDirectory() as Promise<FolderHandle>;

/** What a failed call of the platform says: its name, since most have no other. */
export function reason(cause: unknown): string {
  if (!(cause instanceof Error || cause instanceof DOMException)) return String(cause);
  return cause.message ? `${cause.name}: ${cause.message}` : cause.name;
}

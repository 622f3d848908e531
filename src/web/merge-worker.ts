// The entry of a Web Worker that merges: the loop of every worker, on the files of the page.

import type { FromWorker, ToWorker } from "../exec/messages.ts";
import { createWorkerLoop } from "../exec/worker.ts";
import { type Mount, MountTable } from "./mounts.ts";
import { openMounted } from "./open.ts";
import { openPrivateSink } from "./private-sink.ts";
import { privateScheme } from "./private-stage.ts";
import { openStreamSink } from "./stream-sink.ts";

/** Comes before what the pool sends. */
export interface MountMessage {
  readonly type: "mount";
  readonly mounts: readonly Mount[];
  /** Several workers may hold one private file open. */
  readonly shared: boolean;
  /** Takes what is written to a folder that the user picked. */
  readonly writer: MessagePort;
}

const scope = globalThis as unknown as {
  postMessage(message: FromWorker, transfer: ArrayBuffer[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent<ToWorker | MountMessage>) => void): void;
};

let mounted: { readonly table: MountTable; readonly message: MountMessage } | null = null;

const loop = createWorkerLoop({
  post: (message, transfer) => scope.postMessage(message, transfer),
  now: () => performance.now(),
  timeOrigin: performance.timeOrigin,
  opener: {
    source: (path) => mounted!.table.open(path),
    sink: (path) =>
      path.startsWith(privateScheme)
        ? openPrivateSink(path, mounted!.message.shared)
        : openStreamSink(path, mounted!.message.writer),
  },
});

scope.addEventListener("message", ({ data }) => {
  if (data.type === "mount") mounted = { table: new MountTable(data.mounts, openMounted), message: data };
  else loop(data);
});

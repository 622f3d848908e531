// The entry of a worker thread. It lies beside main.ts because a compiled Bun binary finds only entries of one folder.

import { parentPort } from "node:worker_threads";
import { fileOpener } from "../exec/local.ts";
import { createWorkerLoop } from "../exec/worker.ts";

const port = parentPort;
if (!port) throw new Error("This file is the entry of a worker thread");

port.on(
  "message",
  createWorkerLoop({
    post: (message, transfer) => port.postMessage(message, transfer),
    now: () => performance.now(),
    timeOrigin: performance.timeOrigin,
    opener: fileOpener,
  }),
);

// The entry of a worker thread of `braid bench`: a worker like any other, whose models are noise.

import { parentPort } from "node:worker_threads";
import { noiseOpener } from "../bench/noise.ts";
import { createWorkerLoop } from "../exec/worker.ts";

const port = parentPort;
if (!port) throw new Error("This file is the entry of a worker thread");

port.on(
  "message",
  createWorkerLoop({
    post: (message, transfer) => port.postMessage(message, transfer),
    now: () => performance.now(),
    opener: noiseOpener,
  }),
);

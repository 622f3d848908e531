// The entry of a worker thread of `braid serve`: a worker like any other, whose inputs came with the task.

import { parentPort } from "node:worker_threads";
import { fileOpener } from "../exec/local.ts";
import { createWorkerLoop } from "../exec/worker.ts";
import { createTaskRunner } from "../remote/kernels.ts";
import type { SharedTask } from "./serve-kernels.ts";

const port = parentPort;
if (!port) throw new Error("This file is the entry of a worker thread");

port.on(
  "message",
  createWorkerLoop({
    post: (message, transfer) => port.postMessage(message, transfer),
    now: () => performance.now(),
    opener: fileOpener,
    createRunner: (module, { workerBytes }, _io, now) => {
      const run = createTaskRunner({ module, workerBytes, now });
      return (task) => {
        const { ranges, bytes, output } = (task as SharedTask).shared;
        return run(task, { ranges, bytes: new Uint8Array(bytes) }, new Uint8Array(output));
      };
    },
  }),
);

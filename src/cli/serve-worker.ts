// The entry of a worker thread of `braid serve`: a worker like any other, whose inputs came with the task.

import { parentPort } from "node:worker_threads";
import { fileOpener } from "../exec/local.ts";
import { createWorkerLoop } from "../exec/worker.ts";
import type { TaskIo } from "../kernel/run.ts";
import { carriedIo, createTaskRunner, writerInto } from "../remote/kernels.ts";
import { openPlaces } from "../remote/places.ts";
import type { SharedTask } from "./serve-kernels.ts";

const port = parentPort;
if (!port) throw new Error("This file is the entry of a worker thread");

port.on(
  "message",
  createWorkerLoop({
    post: (message, transfer) => port.postMessage(message, transfer),
    now: () => performance.now(),
    opener: fileOpener,
    createRunner: (module, { workerBytes }, own, now) => {
      const run = createTaskRunner({ module, workerBytes, now });
      // A task that nobody waits for any more stops at the next stride.
      const stopping = ({ read, write }: TaskIo): TaskIo => ({
        beat: own.beat!,
        read: (at, offset, target) => {
          own.beat!(0);
          return read(at, offset, target);
        },
        write,
      });
      return async (task) => {
        const { inputs, output } = (task as SharedTask).shared;
        const into = new Uint8Array(output);
        if ("bytes" in inputs) {
          const data = { ranges: inputs.ranges, bytes: new Uint8Array(inputs.bytes) };
          return run(task, stopping(carriedIo(task, data, into)));
        }
        const { io, close } = await openPlaces(inputs, fileOpener, writerInto(task, into));
        try {
          return await run(task, stopping(io));
        } finally {
          await close();
        }
      };
    },
  }),
);

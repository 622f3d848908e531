// A worker whose tasks misbehave on order. The order is the `byteWidth` of a copy program.

import { existsSync, writeFileSync } from "node:fs";
import process from "node:process";
import { parentPort } from "node:worker_threads";
import { fail } from "../../src/errors.ts";
import type { Job } from "../../src/exec/executor.ts";
import { fileOpener } from "../../src/exec/local.ts";
import { createWorkerLoop } from "../../src/exec/worker.ts";
import type { Receipt, Task } from "../../src/kernel/program.ts";
import type { TaskIo } from "../../src/kernel/run.ts";
import { order } from "./orders.ts";

const port = parentPort!;
const nanoseconds = { read: 0, compute: 0, write: 0 };

function run(task: Task, job: Job, io: TaskIo): Receipt {
  if (task.kind === "survey") {
    const blocks = [Float64Array.of(task.first, 0.1, Number.NaN), Float64Array.of(-0, Infinity)];
    return { kind: "survey", id: task.id, nonFinite: [], result: { op: "dots", blocks }, nanoseconds };
  }
  const what = task.program.op === "copy" ? task.program.byteWidth : order.answer;
  const mark = job.files[0]!.path;
  if (what === order.fail) {
    fail("input-changed", "the message", { hint: "the hint", where: { file: "f", line: 1, column: 2 } });
  }
  if (what === order.bug) (null as unknown as { x: number }).x++;
  if (what === order.exit) process.exit(3);
  if (what === order.exitOnce && !existsSync(mark)) {
    writeFileSync(mark, "");
    process.exit(3);
  }
  // Tells how far it is without end: only an abort stops it.
  for (let i = 0; what === order.beat; i++) io.beat?.(1 - 1 / (i + 2));
  const end = performance.now() + (what === order.spin || what === order.hang ? 20_000 : 0);
  while (performance.now() < end) if (what === order.spin) io.write(task.output, 0, new Uint8Array(1));
  const overflow = { count: 0, first: -1 };
  return { kind: "merge", id: task.id, nonFinite: [], overflow, kept: [task.count], differs: -1, nanoseconds };
}

port.on(
  "message",
  createWorkerLoop({
    post: (message, transfer) => port.postMessage(message, transfer),
    now: () => performance.now(),
    opener: fileOpener,
    createRunner: (_module, job, io) => async (task) => run(task, job, io),
  }),
);

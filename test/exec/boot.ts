// Boots a real pool in the runtime that runs this file and merges with it: `boot.ts FOLDER WORKERS`. Prints one line of JSON.

import process from "node:process";
import { drive } from "../../src/exec/drive.ts";
import { createThreadPool } from "../../src/exec/threads.ts";
import { compileKernel } from "../../src/kernel/kernel.ts";
import type { Receipt } from "../../src/kernel/program.ts";
import { firstWrong, mergeTasks, writeJob } from "./fixture.ts";

const [folder, workers] = process.argv.slice(2);
const { job, out } = writeJob(folder!);
const entry = new URL("../../src/cli/worker.ts", import.meta.url);
const pool = createThreadPool({ module: compileKernel(), workers: Number(workers), job, entry });
const queue = mergeTasks();
const receipts: Receipt[] = [];
const source = {
  next: () => queue.shift() ?? null,
  done: (_: unknown, receipt: Receipt) => receipts.push({ ...receipt, nanoseconds: { read: 0, compute: 0, write: 0 } }),
};
await drive(source, pool, new AbortController().signal);
await pool.close();
receipts.sort((a, b) => a.id - b.id);
console.log(JSON.stringify({ firstWrong: firstWrong(out), receipts }));

// What a merge reads and writes, without anything between: two threads, each with a WebAssembly memory, that read a stride of every
// input at a time and write one of them out. Run as a process by bounds.ts:  bun bench/io-alone.ts OUT INPUT…

import { closeSync, fstatSync, openSync, readSync, writeSync } from "node:fs";
import process from "node:process";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { claimBlocks } from "../src/bytes/blocks.ts";

/** As a merge of bf16 has them: 64 Ki elements of every stream, which stay in L2, and tasks of 4 MiB. */
const strideBytes = 128 * 1024;
const taskBytes = 4 * 1024 * 1024;
const threads = 2;

interface Share {
  readonly out: string;
  readonly inputs: readonly string[];
  readonly thread: number;
}

function copyShare({ out, inputs, thread }: Share): void {
  const { buffer } = new WebAssembly.Memory({ initial: ((inputs.length + 1) * strideBytes) / 65536 });
  const rooms = inputs.map((_, i) => new Uint8Array(buffer, i * strideBytes, strideBytes));
  const files = inputs.map((path) => openSync(path, "r"));
  const sink = openSync(out, "r+");
  const { size } = fstatSync(files[0]!);
  for (let task = thread * taskBytes; task < size; task += threads * taskBytes) {
    const end = Math.min(size, task + taskBytes);
    for (let at = task; at < end; at += strideBytes) {
      const length = Math.min(strideBytes, end - at);
      for (const [i, file] of files.entries()) readSync(file, rooms[i]!, 0, length, at);
      writeSync(sink, rooms.at(-1)!, 0, length, at);
    }
  }
  for (const file of [...files, sink]) closeSync(file);
}

if (isMainThread) {
  const [out, ...inputs] = process.argv.slice(2) as [string, ...string[]];
  const file = openSync(out, "w");
  const input = openSync(inputs[0]!, "r");
  claimBlocks(file, fstatSync(input).size);
  closeSync(input);
  closeSync(file);
  for (let thread = 0; thread < threads; thread++)
    new Worker(new URL(import.meta.url), { workerData: { out, inputs, thread } satisfies Share });
} else {
  copyShare(workerData as Share);
}

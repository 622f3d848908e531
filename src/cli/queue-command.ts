// `braid worker`: takes tasks from a queue until it is told to stop.

import { availableParallelism, hostname } from "node:os";
import { exitCodes } from "../errors.ts";
import { realClock } from "../remote/clock.ts";
import { nodeLimits } from "../remote/limits.ts";
import { runQueueWorker, type WorkerReport } from "../remote/queue-worker.ts";
import { randomId } from "../remote/sign.ts";
import { attempt, runtimeName } from "./environment.ts";
import { formatBytes, plural, printable } from "./format.ts";
import type { Context } from "./main.ts";
import { type CommandOf, version } from "./program.ts";
import { connectQueue } from "./queue-connect.ts";
import { reachOf } from "./serve.ts";
import { createThreadKernels } from "./serve-kernels.ts";
import { ProgressLine, writeDiagnostic } from "./terminal.ts";
import { readToken } from "./token.ts";

/** Of a name that goes to others. */
const nameLength = 64;

export async function runWorker(command: CommandOf<"worker">, context: Context): Promise<number> {
  const { out, err } = context.terminal;
  const token = readToken(command.tokenFile, context.env);
  const reach = reachOf({ roots: command.allowRoot, writeRoots: [], hosts: [], origins: [] });
  const { connection, manager, server, key } = await connectQueue(command.queue, token);
  const workers = command.workers ?? attempt(availableParallelism) ?? 1;
  const kernels = createThreadKernels(workers, nodeLimits.workerBytes);
  const now = () => performance.now();
  const progress = new ProgressLine(err, now);
  const name = (command.name ?? attempt(hostname) ?? "worker").slice(0, nameLength);
  const id = randomId();
  if (command.json) out.write(`${JSON.stringify({ server, name, id, workers, kernel: kernels.sha256 })}\n`);
  else if (!command.quiet)
    out.write(
      `Worker ${printable(name)} at ${server}, ${plural(workers, "thread")}, kernels ${kernels.sha256.slice(0, 12)}\n`,
    );
  let last: WorkerReport = { tasks: 0, bytes: 0, dropped: 0, problem: null };
  const started = now();
  try {
    await runQueueWorker(
      {
        connection,
        manager,
        key,
        kernels,
        worker: { id, name },
        version,
        runtime: runtimeName(),
        reach,
        fetch: (...all) => fetch(...all),
        clock: realClock(now),
        today: () => Date.now(),
        idleMs: command.idle === undefined ? null : command.idle * 1000,
        report: (report) => {
          if (report.problem !== null && report.problem !== last.problem) {
            progress.clear();
            writeDiagnostic(err, "warning", {
              kind: "node-unavailable",
              message: `A task was given back: ${printable(report.problem)}`,
            });
          }
          last = report;
          if (!command.quiet) progress.note(`${plural(report.tasks, "task")}, ${formatBytes(report.bytes)}`);
        },
      },
      context.signal,
    );
  } finally {
    progress.clear();
    await connection.close();
    await kernels.close();
  }
  const secondsSpent = (now() - started) / 1000;
  if (command.json)
    out.write(
      `${JSON.stringify({ tasks: last.tasks, bytes: last.bytes, dropped: last.dropped, seconds: secondsSpent })}\n`,
    );
  else if (!command.quiet)
    out.write(
      `Did ${plural(last.tasks, "task")} (${formatBytes(last.bytes)}), ${last.dropped} given back or not waited for\n`,
    );
  return exitCodes.ok;
}

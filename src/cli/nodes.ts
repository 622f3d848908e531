// `braid nodes`: what the nodes are, whether they are well, and how fast they answer.

import { exitCodes } from "../errors.ts";
import { kernelSha256 } from "../kernel/kernel.ts";
import { goldenTask } from "../remote/audit.ts";
import { NodeClient, NodeError } from "../remote/client.ts";
import { realClock } from "../remote/clock.ts";
import { nodeLimits } from "../remote/limits.ts";
import type { Range } from "../remote/ranges.ts";
import { type About, outputBytes } from "../remote/wire.ts";
import { formatTable, plural, printable } from "./format.ts";
import type { Context } from "./main.ts";
import type { CommandOf } from "./program.ts";
import { readToken } from "./token.ts";

/** Elements of the slice that is timed: 8 MiB of inputs and output. */
const timedElements = 2 ** 20;
const waitMs = 30_000;

interface NodeFacts {
  readonly url: string;
  readonly healthy: boolean;
  readonly about: Pick<About, "version" | "runtime" | "cores" | "kernel" | "roots"> | null;
  /** Bytes of inputs and output a second, one request at a time. */
  readonly bytesPerSecond: number | null;
  readonly problem: string | null;
}

async function look(url: string, token: string | null, outer: AbortSignal): Promise<NodeFacts> {
  const now = () => performance.now();
  const client = new NodeClient(
    { url, token },
    {
      fetch: (...all) => fetch(...all),
      clock: realClock(now),
      today: () => Date.now(),
      job: "nodes",
      kernel: kernelSha256,
      limits: nodeLimits,
    },
  );
  const signal = AbortSignal.any([outer, AbortSignal.timeout(waitMs)]);
  const healthy = await client.healthy(signal);
  let about: About | null = null;
  try {
    about = await client.about(signal);
    let bytesPerSecond = 0;
    // The first one warms the node up.
    for (let lease = 0; lease < 2; lease++) {
      const { task, data } = goldenTask(timedElements);
      let from = 0;
      const started = now();
      const fill = ({ start, end }: Range, target: Uint8Array) => {
        target.set(data.bytes.subarray(from, from + end - start));
        from += end - start;
      };
      await client.run({ task, ranges: data.ranges, locators: [], fill, target: null }, lease, signal);
      bytesPerSecond = ((data.bytes.length + outputBytes(task)) / (now() - started)) * 1000;
    }
    return { url, healthy, about, bytesPerSecond, problem: null };
  } catch (e) {
    outer.throwIfAborted();
    const problem = e instanceof NodeError ? e.message : signal.aborted ? "no answer in time" : String(e);
    return { url, healthy, about, bytesPerSecond: null, problem };
  }
}

export async function runNodes(command: CommandOf<"nodes">, context: Context): Promise<number> {
  const { out } = context.terminal;
  const token = readToken(command.nodeTokenFile, context.env);
  const facts = [];
  // One after the other, so that nodes on one machine do not slow each other.
  for (const url of command.urls) facts.push(await look(url.origin, token, context.signal));
  const well = facts.every(({ problem }) => problem === null);
  if (command.json) out.write(`${JSON.stringify({ nodes: facts }, null, 2)}\n`);
  else {
    for (const { url, healthy, about, bytesPerSecond, problem } of facts) {
      out.write(`${url}\n`);
      const rows = [["health", healthy ? "up" : "does not answer"]];
      if (about) {
        rows.push([
          "runtime",
          `braid ${printable(about.version)} on ${printable(about.runtime)}, ${plural(about.cores, "core")}`,
        ]);
        rows.push(["kernels", printable(about.kernel)]);
      }
      if (bytesPerSecond !== null)
        rows.push(["rate", `${(bytesPerSecond / 1e9).toFixed(2)} GB/s, one slice at a time`]);
      if (problem) rows.push(["problem", printable(problem)]);
      out.write(formatTable(rows));
    }
  }
  return well ? exitCodes.ok : exitCodes.node;
}

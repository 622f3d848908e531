// A coordinator's desk as a worker of its queue sees it: where a task's inputs come from, and where what came of it is brought.

import type { ByteSource } from "../bytes/source.ts";
import { BraidError } from "../errors.ts";
import { ask, type Fetch, NodeError, type Question, smallBytes } from "./ask.ts";
import type { Clock } from "./clock.ts";
import type { NodeLimits } from "./limits.ts";
import { LocatorError, type Reach } from "./locate.ts";
import { pathVersion } from "./places.ts";
import { leaseRoutes, type QueueTask } from "./queue-wire.ts";
import { rangeBytes } from "./ranges.ts";
import type { Key } from "./sign.ts";

/** A busy coordinator is asked so often. */
const maxBusy = 20;

/** The task is over, one way or another. */
export class Over extends Error {
  /** What becomes of the message: `done` is taken out of the queue, `again` comes back, to anybody. */
  readonly how: "done" | "again";
  constructor(how: Over["how"]) {
    super(how);
    this.how = how;
  }
}

export interface DeskClientOptions {
  readonly key: Key;
  /** SHA-256 of the kernels. */
  readonly kernel: string;
  /** Of the worker. */
  readonly id: string;
  /** Files that it reads itself. */
  readonly reach: Reach;
  readonly fetch: Fetch;
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly today: () => number;
  readonly limits: NodeLimits;
  /** What is wrong between the two. */
  readonly problem: (problem: string) => void;
}

export class DeskClient {
  private readonly options: DeskClientOptions;
  private readonly signal: AbortSignal;

  /** `signal`: the worker ends. */
  constructor(options: DeskClientOptions, signal: AbortSignal) {
    this.options = options;
    this.signal = signal;
  }

  /**
   * The bytes of a task: from a disk that is shared, where that may be read, or from the coordinator.
   *
   * @throws Over when there is nothing to do; BraidError when the coordinator bans this worker.
   */
  async inputs(queued: QueueTask): Promise<Uint8Array<ArrayBuffer>> {
    const { id } = this.options;
    const bytes = new Uint8Array(rangeBytes(queued.ranges));
    if (await this.readPaths(queued, bytes)) {
      await this.ask(queued, "GET", leaseRoutes.begin(queued.lease, id), new Uint8Array(), smallBytes);
      return bytes;
    }
    const route = leaseRoutes.inputs(queued.lease, id);
    const got = await this.ask(queued, "GET", route, new Uint8Array(), bytes.length);
    if (got.length !== bytes.length) throw new Over("again");
    return got;
  }

  /** @throws like `inputs` */
  async bring(queued: QueueTask, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.ask(queued, "PUT", leaseRoutes.output(queued.lease, this.options.id), bytes, smallBytes);
  }

  private async readPaths({ ranges, locators }: QueueTask, bytes: Uint8Array): Promise<boolean> {
    const { openPath } = this.options.reach;
    if (!openPath) return false;
    const open = new Map<number, ByteSource>();
    let at = 0;
    try {
      for (const { file, start, end } of ranges) {
        let source = open.get(file);
        if (!source) {
          const locator = locators.find((l) => l.file === file);
          if (!locator) return false;
          source = await openPath(locator.path);
          open.set(file, source);
          if (pathVersion(source) !== locator.version) return false;
        }
        await source.read(start, bytes.subarray(at, at + end - start));
        at += end - start;
      }
      return true;
    } catch (error) {
      if (error instanceof LocatorError || error instanceof BraidError) return false;
      throw error;
    } finally {
      for (const source of open.values()) await source.close();
    }
  }

  /** Asks the coordinator, again while it is busy. */
  private async ask(
    { coordinator, job, lease }: QueueTask,
    method: Question["method"],
    route: string,
    body: Uint8Array<ArrayBuffer>,
    limit: number,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { clock, problem } = this.options;
    for (let tries = 0; ; tries++) {
      try {
        return await ask(this.options, { method, url: coordinator, route, body, job, lease, limit }, this.signal);
      } catch (error) {
        if (!(error instanceof NodeError)) throw new Over("again");
        if (error.status === 410) throw new Over("done");
        problem(`the coordinator at ${coordinator}: ${error.message}`);
        if (error.status === 403) {
          throw new BraidError({
            kind: "node-answer",
            message: `Cannot go on as a worker: a coordinator found wrong bytes in what this machine brought`,
            hint: "Its memory or processor may be damaged.",
          });
        }
        if (error.fault !== "busy" || tries >= maxBusy) throw new Over("again");
        await clock.wait(error.retryAfter, this.signal);
      }
    }
  }
}

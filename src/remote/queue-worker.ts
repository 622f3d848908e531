// A worker of a queue: takes tasks of every merge of its group, runs its own kernels on them, brings the bytes to the merge's
// coordinator and seals a receipt. It knows no merge beforehand, and outlives all of them.

import { type JetStreamManager, type JsMsg, jetstream } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { BraidError } from "../errors.ts";
import type { Receipt } from "../kernel/program.ts";
import type { Fetch } from "./ask.ts";
import type { Clock } from "./clock.ts";
import { encodeFrame } from "./frame.ts";
import type { NodeKernels } from "./kernels.ts";
import { type NodeLimits, nodeLimits } from "./limits.ts";
import type { Reach } from "./locate.ts";
import { DeskClient, Over } from "./queue-client.ts";
import { ensureStreams, ensureTaskConsumer, taskConsumer } from "./queue-streams.ts";
import {
  groupOf,
  helloMs,
  messageBytes,
  type QueueResult,
  type QueueTask,
  queueProtocol,
  queueTaskFault,
  seal,
  streams,
  subjects,
  unseal,
  type WorkerName,
} from "./queue-wire.ts";
import { type Key, sha256Hex } from "./sign.ts";

/** How long one request for a task waits at the server. */
const pullMs = 2_000;
/** After a failure of the server, or of a coordinator, it is tried again. */
const againMs = 500;
/** A receipt must be in the stream by then, or it is sent again. */
const publishMs = 2_000;
/** What a receipt may take of a message; a longer one is brought like an output. */
const receiptBytes = messageBytes / 2;
export interface WorkerReport {
  readonly tasks: number;
  /** Read and written. */
  readonly bytes: number;
  /** Tasks that were given back, or that nobody waited for any more. */
  readonly dropped: number;
  /** Why the last one was given back. */
  readonly problem: string | null;
}

export interface QueueWorkerOptions {
  readonly connection: NatsConnection;
  readonly manager: JetStreamManager;
  readonly key: Key;
  readonly kernels: NodeKernels;
  readonly worker: WorkerName;
  readonly version: string;
  readonly runtime: string;
  /** Files that it reads itself. */
  readonly reach: Reach;
  readonly fetch: Fetch;
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly today: () => number;
  readonly report: (report: WorkerReport) => void;
  /** Ends when there was no task for so long; null: never. */
  readonly idleMs: number | null;
  readonly limits?: Partial<NodeLimits>;
}

/** Takes tasks until the signal is aborted, or none came for `idleMs`. @throws BraidError when a coordinator bans it. */
export async function runQueueWorker(options: QueueWorkerOptions, signal: AbortSignal): Promise<void> {
  await new QueueWorker(options).run(signal);
}

class QueueWorker {
  private readonly options: QueueWorkerOptions;
  private readonly limits: NodeLimits;
  private readonly group: string;
  private readonly stop = new AbortController();
  private readonly lanes: number;
  private readonly desk: DeskClient;
  private failure: BraidError | null = null;
  private last: number;
  private busy = 0;
  private tasks = 0;
  private bytes = 0;
  private dropped = 0;
  private problem: string | null = null;

  constructor(options: QueueWorkerOptions) {
    this.options = options;
    this.limits = { ...nodeLimits, ...options.limits };
    this.group = groupOf(options.key, options.kernels.sha256);
    // One more than run: its inputs come while the others compute.
    this.lanes = options.kernels.cores + 1;
    this.last = options.clock.now();
    const { key, kernels, worker, reach, fetch, clock, today } = options;
    const { limits } = this;
    const problem = (message: string) => {
      this.problem = message;
    };
    const desk = { key, kernel: kernels.sha256, id: worker.id, reach, fetch, clock, today, limits, problem };
    this.desk = new DeskClient(desk, this.stop.signal);
  }

  async run(outer: AbortSignal): Promise<void> {
    const abort = () => this.stop.abort();
    outer.addEventListener("abort", abort, { once: true });
    if (outer.aborted) abort();
    const { connection } = this.options;
    const calls = connection.subscribe(subjects.call(this.group), { callback: () => this.greet(false) });
    const greeting = this.keepGreeting();
    await Promise.all(Array.from({ length: this.lanes }, () => this.lane()));
    calls.unsubscribe();
    await greeting;
    this.greet(true);
    outer.removeEventListener("abort", abort);
    if (this.failure) throw this.failure;
  }

  private async keepGreeting(): Promise<void> {
    const { signal } = this.stop;
    while (!signal.aborted) {
      this.greet(false);
      await this.options.clock.wait(helloMs, signal);
    }
  }

  private greet(leaving: boolean): void {
    const { connection, key, worker, version, runtime, kernels } = this.options;
    const subject = subjects.hello(this.group);
    const hello = { protocol: queueProtocol, worker, lanes: this.lanes, cores: kernels.cores, version, runtime };
    try {
      connection.publish(subject, seal(key, "hello", subject, { ...hello, kernel: kernels.sha256, leaving }));
    } catch {
      // Not connected now; the next one may be heard.
    }
  }

  /** One task at a time, and none beforehand: what a worker holds, others wait for. */
  private async lane(): Promise<void> {
    const { clock, idleMs } = this.options;
    const { signal } = this.stop;
    while (!signal.aborted) {
      let message: JsMsg | null = null;
      try {
        message = await this.next();
      } catch {
        await clock.wait(againMs, signal);
      }
      if (message && signal.aborted) message.nak();
      else if (message) await this.handle(message);
      else if (idleMs !== null && this.busy === 0 && clock.now() - this.last > idleMs) this.stop.abort();
    }
  }

  private async next(): Promise<JsMsg | null> {
    const { connection, manager, clock } = this.options;
    const { signal } = this.stop;
    let name = taskConsumer(this.group);
    let consumer: Awaited<ReturnType<ReturnType<typeof jetstream>["consumers"]["get"]>>;
    try {
      consumer = await jetstream(connection).consumers.get(streams.tasks, name);
    } catch (e) {
      if (!/not found/i.test(String(e))) throw e;
      await ensureStreams(manager);
      name = await ensureTaskConsumer(manager, this.group);
      consumer = await jetstream(connection).consumers.get(streams.tasks, name);
    }
    // It was stopped meanwhile: a signal that is aborted already tells no listener.
    if (signal.aborted) return null;
    const message = consumer.next({ expires: pullMs });
    // A message that comes after the end goes back when its lease is over.
    message.then((m) => signal.aborted && m?.nak()).catch(() => {});
    const over = new AbortController();
    const stopped = new Promise<null>((resolve) =>
      signal.addEventListener("abort", () => resolve(null), { once: true, signal: over.signal }),
    );
    try {
      return await Promise.race([message, stopped, clock.wait(2 * pullMs, over.signal).then(() => null)]);
    } finally {
      over.abort();
    }
  }

  private async handle(message: JsMsg): Promise<void> {
    const { key, kernels, clock } = this.options;
    const subject = message.subject;
    const task = unseal(key, "task", subject, message.data) as QueueTask | null;
    const fault = task === null ? "its seal is wrong" : queueTaskFault(task, kernels.sha256, this.limits.sliceBytes);
    if (fault !== null || task === null) {
      this.dropped++;
      if (task?.protocol === queueProtocol) await this.send(message, task, null, null, fault).catch(() => {});
      // Nobody can do it, so it must not come back. Without a reason: older servers take a reason for nothing.
      message.term();
      return;
    }
    this.busy++;
    const over = new AbortController();
    void this.keepLease(message, task.leaseMs / 3, over.signal);
    try {
      await this.work(message, task);
      message.ack();
    } catch (error) {
      this.dropped++;
      if (error instanceof Over && error.how === "done") message.ack();
      else message.nak(againMs);
      if (error instanceof BraidError) {
        this.failure ??= error;
        this.stop.abort();
      }
    } finally {
      over.abort();
      this.busy--;
      this.last = clock.now();
      this.options.report({ tasks: this.tasks, bytes: this.bytes, dropped: this.dropped, problem: this.problem });
    }
  }

  private async keepLease(message: JsMsg, everyMs: number, over: AbortSignal): Promise<void> {
    for (;;) {
      await this.options.clock.wait(everyMs, over);
      if (over.aborted) return;
      try {
        message.working();
      } catch {
        // Not connected now.
      }
    }
  }

  private async work(message: JsMsg, queued: QueueTask): Promise<void> {
    const { kernels } = this.options;
    const { signal } = this.stop;
    const { task, ranges } = queued;
    const bytes = await this.desk.inputs(queued);
    let result: { readonly receipt: Receipt; readonly output: Uint8Array<ArrayBuffer> };
    try {
      result = await kernels.run(task, { ranges, bytes }, signal);
    } catch (error) {
      if (signal.aborted) throw new Over("again");
      await this.send(message, queued, null, null, error instanceof Error ? error.message.slice(0, 200) : "no reason");
      return;
    }
    const long = encodeFrame(result.receipt).bytes;
    const brought = task.kind === "merge" ? result.output : long.length > receiptBytes ? long : null;
    if (task.kind === "merge" && long.length > receiptBytes) {
      await this.send(message, queued, null, null, "its receipt is too long");
      return;
    }
    if (brought) await this.desk.bring(queued, brought);
    const receipt = task.kind === "survey" && brought ? null : result.receipt;
    await this.send(message, queued, receipt, brought, null);
    this.tasks++;
    this.problem = null;
    this.bytes += bytes.length + result.output.length;
  }

  /** Seals a result and puts it into the stream, as often as it takes. */
  private async send(
    message: JsMsg,
    { job, lease, task, leaseMs }: QueueTask,
    receipt: Receipt | null,
    brought: Uint8Array<ArrayBuffer> | null,
    fault: string | null,
  ): Promise<void> {
    const { connection, key, kernels, worker, clock } = this.options;
    const { signal } = this.stop;
    const delivery = message.info.deliveryCount;
    const result: QueueResult = {
      protocol: queueProtocol,
      job,
      lease,
      delivery,
      kernel: kernels.sha256,
      worker,
      slice: { kind: task.kind, first: task.first, count: task.count },
      receipt,
      upload: brought ? { sha256: await sha256Hex(brought), length: brought.length } : null,
      fault,
    };
    const subject = subjects.result(job);
    const sealed = seal(key, "result", subject, result);
    const until = clock.now() + 4 * leaseMs;
    for (;;) {
      try {
        await jetstream(connection).publish(subject, sealed, {
          msgID: `${job}-${lease}-${worker.id}-${delivery}`,
          timeout: publishMs,
        });
        return;
      } catch {
        if (signal.aborted || clock.now() > until) throw new Over("again");
        await clock.wait(againMs, signal);
      }
    }
  }
}

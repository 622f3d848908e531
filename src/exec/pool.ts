// A pool of workers, whatever they are made of: threads of a process (threads.ts), Web Workers of a page (web.ts).

import { BraidError } from "../errors.ts";
import type { Receipt, Task } from "../kernel/program.ts";
import type { Executor, Job } from "./executor.ts";
import { errorFromWire, type FromWorker, type ToWorker } from "./messages.ts";

/** Tasks at a worker: one that runs and one that waits there, so that it never idles for a message. */
export const queueDepth = 2;
/** Dead workers that one pool replaces. More than this is no accident. */
export const maxReplacements = 4;
/** How often a task may be running in a worker that dies. */
export const maxAttempts = 2;
/** After an abort a worker may take this long to close its files. */
export const closeGraceMs = 1_000;
/** Bun's terminate() waits for the thread, which may hang in a system call. */
const terminateGraceMs = 500;

/** One worker: something that takes messages and can be ended. */
export interface PoolWorker {
  post(message: ToWorker): void;
  terminate(): unknown;
}

export interface PoolOptions {
  readonly module: WebAssembly.Module;
  readonly workers: number;
  readonly job: Job;
  /** Starts a worker. `hear` is told each of its messages, `gone` why it stopped; both may be told more than once. */
  readonly start: (hear: (message: FromWorker) => void, gone: (why: string) => void) => PoolWorker;
  /** Memory for flags that a worker looks at while it works; where none can be shared, it sees them with its next message. */
  readonly flags: (length: number) => Int32Array;
  /** When this thread's clock was 0, as workers know it of theirs: profiles of all of them are then on one clock. */
  readonly timeOrigin?: number;
}

interface Call {
  readonly task: Task;
  readonly signal: AbortSignal;
  readonly resolve: (receipt: Receipt) => void;
  readonly reject: (error: unknown) => void;
  readonly onAbort: () => void;
  readonly beat: ((share: number) => void) | undefined;
  /** Answered or aborted: nobody waits for it any more. */
  settled: boolean;
  attempts: number;
}

interface Member {
  readonly worker: PoolWorker;
  /** In the order of their start; one that takes a dead worker's place has a number of its own. */
  readonly number: number;
  /** One flag a slot: set when its call was aborted. */
  readonly cancelled: Int32Array;
  readonly slots: (Call | null)[];
  /** The slots in use, first sent first: the worker runs them in this order. */
  readonly order: number[];
  ready: boolean;
  dead: boolean;
  /** Resolves with why it stopped. */
  readonly gone: PromiseWithResolvers<string>;
  readonly synced: PromiseWithResolvers<void>;
  readonly closed: PromiseWithResolvers<void>;
}

/**
 * Starts `workers` workers at once and returns; tasks wait until one is up.
 *
 * A task whose worker dies runs once more in another; values and places of a task's output are fixed, so it does not matter
 * how often or where it ran. `close` syncs what was written, unless a task was aborted or failed: then nobody will use it.
 */
export function createPool(options: PoolOptions): Executor {
  return new Pool(options);
}

class Pool implements Executor {
  readonly capacity: number;
  readonly surveysMerges = true;
  private readonly options: PoolOptions;
  private readonly members = new Set<Member>();
  private readonly waiting: Call[] = [];
  /** A worker came up. */
  private started = false;
  private replacements = 0;
  private spawned = 0;
  /** Why no task can run any more. */
  private failure: Error | null = null;
  /** A task failed or was aborted. */
  private broken = false;
  private closing: Promise<void> | null = null;

  constructor(options: PoolOptions) {
    this.options = options;
    this.capacity = options.workers * queueDepth;
    for (let i = 0; i < options.workers; i++) this.spawn();
  }

  run(task: Task, signal: AbortSignal, beat?: (share: number) => void): Promise<Receipt> {
    if (signal.aborted) return Promise.reject(signal.reason);
    if (this.failure) return Promise.reject(this.failure);
    if (this.closing) return Promise.reject(new Error("The executor is closed"));
    const { promise, resolve, reject } = Promise.withResolvers<Receipt>();
    const onAbort = () => this.cancel(call, signal.reason);
    const call: Call = { task, signal, resolve, reject, onAbort, beat, settled: false, attempts: 0 };
    signal.addEventListener("abort", onAbort, { once: true });
    this.waiting.push(call);
    this.dispatch();
    return promise;
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  private spawn(): void {
    const { module, job, timeOrigin, start, flags } = this.options;
    let member: Member | null = null;
    let worker: PoolWorker;
    try {
      // Neither is told before this function returns.
      worker = start(
        (message) => this.hear(member!, message),
        (why) => this.bury(member!, why),
      );
    } catch (e) {
      // Deno answers so when it may not read the entry.
      this.failAll(new BraidError({ kind: "worker-died", message: `Cannot start a worker: ${e}` }));
      return;
    }
    member = {
      worker,
      number: this.spawned++,
      cancelled: flags(queueDepth),
      slots: Array.from({ length: queueDepth }, () => null),
      order: [],
      ready: false,
      dead: false,
      gone: Promise.withResolvers(),
      synced: Promise.withResolvers(),
      closed: Promise.withResolvers(),
    };
    this.members.add(member);
    this.tell(member, { type: "init", module, job, cancelled: member.cancelled, timeOrigin });
  }

  private tell(member: Member, message: ToWorker): void {
    member.worker.post(message);
  }

  private hear(member: Member, message: FromWorker): void {
    if (message.type === "ready") this.started = member.ready = true;
    else if (message.type === "beat") member.slots[message.slot]?.beat?.(message.share);
    else if (message.type === "receipt")
      this.settle(this.take(member, message.slot), numbered(message.receipt, member), null);
    else if (message.type === "error") this.settle(this.take(member, message.slot), null, errorFromWire(message.error));
    else if (message.type === "unfit") this.failAll(errorFromWire(message.error));
    else if (message.type === "closed") member.closed.resolve();
    else if (message.error) member.synced.reject(errorFromWire(message.error));
    else member.synced.resolve();
    this.dispatch();
  }

  /** Gives waiting calls to the workers that have least to do. */
  private dispatch(): void {
    while (this.waiting.length > 0) {
      let member: Member | null = null;
      for (const m of this.members) if (!member || m.order.length < member.order.length) member = m;
      if (!member || member.order.length >= queueDepth) return;
      const call = this.waiting.shift()!;
      if (call.settled) continue;
      const slot = member.slots.indexOf(null);
      member.slots[slot] = call;
      member.order.push(slot);
      Atomics.store(member.cancelled, slot, 0);
      this.tell(member, { type: "task", slot, task: call.task });
    }
  }

  private take(member: Member, slot: number): Call | null {
    const call = member.slots[slot] ?? null;
    member.slots[slot] = null;
    const at = member.order.indexOf(slot);
    if (at >= 0) member.order.splice(at, 1);
    return call;
  }

  private settle(call: Call | null, receipt: Receipt | null, error: unknown): void {
    if (!call || call.settled) return;
    call.settled = true;
    call.signal.removeEventListener("abort", call.onAbort);
    if (receipt) {
      call.resolve(receipt);
    } else {
      this.broken = true;
      call.reject(error);
    }
  }

  /** Rejects at once. The worker sees the flag at its next read or write and answers; until then the slot stays taken. */
  private cancel(call: Call, reason: unknown): void {
    this.settle(call, null, reason);
    for (const member of this.members) {
      const slot = member.slots.indexOf(call);
      if (slot >= 0) Atomics.store(member.cancelled, slot, 1);
    }
  }

  private failAll(error: Error): void {
    this.failure ??= error;
    const calls = [...this.waiting.splice(0), ...[...this.members].flatMap((m) => m.slots)];
    for (const call of calls) if (call) this.cancel(call, error);
  }

  /** A worker stopped. Its calls go back to the front of the queue, and another takes its place. */
  private bury(member: Member, why: string): void {
    if (member.dead) return;
    member.dead = true;
    this.members.delete(member);
    member.gone.resolve(why);
    member.worker.terminate();
    if (this.closing) return;
    const calls = member.order.map((slot) => member.slots[slot]!);
    const [running] = calls;
    // Only the first can be to blame: the others had not begun, and before "ready" none had.
    if (running && member.ready && ++running.attempts >= maxAttempts) {
      this.settle(running, null, workerDied(`A worker stopped at task ${running.task.id}, for the second time`, why));
    }
    this.waiting.unshift(...calls.filter((call) => !call.settled));
    if (!this.started) {
      // None ever came up, so no other will: its files are missing or must not be read.
      this.failAll(new BraidError({ kind: "worker-died", message: `Cannot start a worker: ${why}` }));
    } else if (this.replacements < maxReplacements) {
      this.replacements++;
      this.spawn();
    } else if (this.members.size === 0) {
      this.failAll(workerDied(`All workers stopped; ${this.replacements} were replaced`, why));
    }
    this.dispatch();
  }

  private async shutDown(): Promise<void> {
    const members = [...this.members];
    const calls = [...this.waiting.splice(0), ...members.flatMap((m) => m.slots)];
    for (const call of calls) if (call) this.cancel(call, new Error("The executor was closed"));
    const sync = this.options.job.sync !== false && !this.broken && !this.failure;
    const ends = await Promise.allSettled(members.map((member) => this.end(member, sync)));
    for (const end of ends) if (end.status === "rejected") throw end.reason;
  }

  private async end(member: Member, sync: boolean): Promise<void> {
    try {
      if (sync) {
        this.tell(member, { type: "sync" });
        const died = member.gone.promise.then((why) => {
          throw workerDied("A worker stopped while it synced the output", why);
        });
        await Promise.race([member.synced.promise, died]);
      }
      this.tell(member, { type: "close" });
      await within(closeGraceMs, Promise.race([member.closed.promise, member.gone.promise]));
    } finally {
      await within(terminateGraceMs, Promise.resolve(member.worker.terminate()));
      this.bury(member, "closed");
    }
  }
}

function numbered(receipt: Receipt, { number }: Member): Receipt {
  return receipt.profile ? { ...receipt, profile: { ...receipt.profile, worker: number } } : receipt;
}

function workerDied(what: string, why: string): BraidError {
  return new BraidError({
    kind: "worker-died",
    message: `${what}: ${why}`,
    hint: "A lack of memory is the usual reason: try fewer --workers.",
  });
}

/** Waits for `promise`, but no longer than `ms`. */
async function within(ms: number, promise: Promise<unknown>): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([promise, late]);
  clearTimeout(timer);
}

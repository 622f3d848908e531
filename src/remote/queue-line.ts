// A coordinator's side of the queue: it puts tasks in, hears results and workers, and goes on through every restart of the
// server.

import { type JetStreamManager, type JsMsg, jetstream } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import type { Clock } from "./clock.ts";
import { ensureResultConsumer, ensureStreams, ensureTaskConsumer, taskConsumer } from "./queue-streams.ts";
import { type Hello, helloFault, streams, subjects, unseal } from "./queue-wire.ts";
import type { Key } from "./sign.ts";

/** After a failure of the server it is tried again. */
const againMs = 500;
/** How often it is tried to take a task out. */
const withdrawTries = 20;
/** When a job is over, for taking out what is left of it. */
const sweepMs = 3_000;
/** A message must be in the stream by then, or it is sent again; the server drops the second one. */
const publishMs = 2_000;

/**
 * offered: a worker has it, or will. gone: finished by somebody. exhausted: in the stream, and given to nobody any more. unknown:
 * the server does not answer.
 */
export type Standing = "offered" | "gone" | "exhausted" | "unknown";

export interface LineOptions {
  readonly connection: NatsConnection;
  readonly manager: JetStreamManager;
  readonly clock: Clock;
  readonly key: Key;
  readonly group: string;
  readonly job: string;
  readonly leaseMs: number;
  readonly heard: (result: unknown) => void;
  readonly hello: (hello: Hello) => void;
  /** A message was given out as often as it may be, and never finished. */
  readonly exhausted: (sequence: number) => void;
  /** The queue cannot be used at all. */
  readonly failed: (error: unknown) => void;
}

export class QueueLine {
  private readonly options: LineOptions;
  private readonly closed = new AbortController();
  private readonly listening: Promise<void>;
  private readonly withdrawals = new Set<Promise<unknown>>();
  private ready: Promise<void>;

  constructor(options: LineOptions) {
    this.options = options;
    this.ready = this.prepare();
    this.ready.catch(options.failed);
    this.hearWorkers();
    this.listening = this.listen();
  }

  /**
   * Puts a sealed task in and answers its place in the stream, however often that takes; null when the line was closed before.
   * `id` is the same for every try, so that it is in once.
   */
  async publish(id: string, message: Uint8Array): Promise<number | null> {
    const { connection, clock, group, job } = this.options;
    const { signal } = this.closed;
    for (;;) {
      try {
        await this.ready;
        if (signal.aborted) return null;
        const sent = await jetstream(connection).publish(subjects.task(group, job), message, {
          msgID: id,
          timeout: publishMs,
        });
        return sent.seq;
      } catch {
        await clock.wait(againMs, signal);
        if (signal.aborted) return null;
        // A server that lost its folder has no streams any more.
        this.ready = this.prepare();
        this.ready.catch(() => {});
      }
    }
  }

  /** Takes a task out again; one that a worker has is finished there all the same. */
  withdraw(sequence: number): void {
    const withdrawal = this.takeOut(sequence);
    this.withdrawals.add(withdrawal);
    void withdrawal.then(() => this.withdrawals.delete(withdrawal));
  }

  private async takeOut(sequence: number): Promise<void> {
    const { manager, clock } = this.options;
    for (let tries = 0; tries < withdrawTries; tries++) {
      try {
        await manager.streams.deleteMessage(streams.tasks, sequence, false);
        return;
      } catch (e) {
        // Finished meanwhile; otherwise the server is away, and would still have it when it comes back.
        if (/found/i.test(String(e))) return;
        await clock.wait(againMs);
      }
    }
  }

  /**
   * Where a task is. The server tells that a message was given out for the last time once, to whoever hears it then; its consumer
   * shows it for good: past the message, and with nothing in anybody's hands. A busy group has to come to rest for that.
   */
  async standing(sequence: number): Promise<Standing> {
    const { manager, group } = this.options;
    try {
      if ((await manager.streams.getMessage(streams.tasks, { seq: sequence })) === null) return "gone";
    } catch (e) {
      return /not found|no message/i.test(String(e)) ? "gone" : "unknown";
    }
    try {
      const { delivered, num_ack_pending } = await manager.consumers.info(streams.tasks, taskConsumer(group));
      return num_ack_pending === 0 && delivered.stream_seq >= sequence ? "exhausted" : "offered";
    } catch {
      return "unknown";
    }
  }

  /**
   * Leaves nothing of the job behind, if the server can be reached; the tasks were withdrawn one by one. A purge by subject is no
   * way to do it: with nats-server 2.9 the group's consumer then passes over tasks of other jobs. A result that comes later goes
   * when its time is over.
   */
  async close(): Promise<void> {
    if (this.closed.signal.aborted) return;
    this.closed.abort();
    const { manager, job, clock } = this.options;
    const cleared = Promise.allSettled([this.sweep(), manager.consumers.delete(streams.results, `job-${job}`)]);
    const late = new AbortController();
    await Promise.race([cleared, clock.wait(sweepMs, late.signal)]);
    late.abort();
    await this.listening;
  }

  /**
   * Takes out what is left of the job. A server that was killed may have forgotten what was finished (2.9.10 did): such tasks are in
   * the stream again, and its consumer, which knows better, gives them to nobody. Asked for the last one of the subject, it knew of none.
   */
  private async sweep(): Promise<void> {
    await Promise.allSettled(this.withdrawals);
    const { manager, group, job } = this.options;
    const first = { seq: 1, next_by_subj: subjects.task(group, job) };
    for (;;) {
      const left = await manager.streams.getMessage(streams.tasks, first);
      if (left === null) return;
      await manager.streams.deleteMessage(streams.tasks, left.seq, false);
    }
  }

  private async prepare(): Promise<void> {
    const { manager, group, job, leaseMs } = this.options;
    await ensureStreams(manager);
    await ensureTaskConsumer(manager, group, leaseMs);
    await ensureResultConsumer(manager, job);
  }

  private hearWorkers(): void {
    const { connection, key, group, hello, exhausted } = this.options;
    const subject = subjects.hello(group);
    const greetings = connection.subscribe(subject, {
      callback: (error, message) => {
        if (error) return;
        const said = unseal(key, "hello", subject, message.data);
        if (said !== null && !helloFault(said)) hello(said as Hello);
      },
    });
    const advisory = `$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.${streams.tasks}.${taskConsumer(group)}`;
    const advisories = connection.subscribe(advisory, {
      callback: (error, message) => {
        if (error) return;
        try {
          exhausted(Number(message.json<{ stream_seq?: unknown }>().stream_seq));
        } catch {
          // Not the server's words.
        }
      },
    });
    this.closed.signal.addEventListener(
      "abort",
      () => {
        greetings.unsubscribe();
        advisories.unsubscribe();
      },
      { once: true },
    );
    connection.publish(subjects.call(group));
  }

  /** Results are heard as long as the line is open; whatever ends that begins it anew. */
  private async listen(): Promise<void> {
    const { connection, job, clock } = this.options;
    const { signal } = this.closed;
    while (!signal.aborted) {
      try {
        await this.ready;
        if (signal.aborted) return;
        const consumer = await jetstream(connection).consumers.get(streams.results, `job-${job}`);
        const messages = await consumer.consume({ max_messages: 64, abort_on_missing_resource: true });
        const stop = () => void messages.close();
        signal.addEventListener("abort", stop, { once: true });
        if (signal.aborted) stop();
        for await (const message of messages) this.hear(message);
        signal.removeEventListener("abort", stop);
      } catch {
        // The server is away, or lost its streams: below.
      }
      if (signal.aborted) return;
      await clock.wait(againMs, signal);
      if (signal.aborted) return;
      this.ready = this.prepare();
      this.ready.catch(() => {});
    }
  }

  private hear(message: JsMsg): void {
    const { key, job, heard } = this.options;
    message.ack();
    const result = unseal(key, "result", subjects.result(job), message.data);
    if (result !== null) heard(result);
  }
}

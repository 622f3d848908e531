// Tasks in the queue, each under a number of its own: how they get there, what is brought for them, and whether they are there still.

import type { Calls } from "./calls.ts";
import type { Brought, Lease, QueueCall } from "./queue-call.ts";
import type { QueueLine } from "./queue-line.ts";
import type { QueueOptions } from "./queue-terms.ts";
import { maxDeliver, messageBytes, type QueueTask, queueProtocol, seal, subjects } from "./queue-wire.ts";
import type { Range } from "./ranges.ts";
import { Versions } from "./versions.ts";

/** How often it is asked whether tasks that take long are still in the queue. */
const lookMs = 5_000;

export interface LeasesOptions {
  readonly terms: Pick<QueueOptions, "key" | "leaseMs" | "job" | "opener" | "kernels" | "clock">;
  readonly calls: Calls<QueueCall>;
  readonly line: QueueLine;
  /** Of the job. */
  readonly id: string;
  readonly group: string;
  /** Where workers find the desk. */
  readonly url: string;
  /** One came to nothing. `forGood`: no other worker would fare better. */
  readonly lost: (lease: Lease, forGood?: boolean) => void;
  /** One was given out as often as it may be. */
  readonly exhausted: (lease: Lease) => void;
}

export class Leases {
  private readonly options: LeasesOptions;
  private readonly versions: Versions;
  private readonly leases = new Map<number, Lease>();
  private numbers = 0;

  constructor(options: LeasesOptions) {
    this.options = options;
    this.versions = new Versions(options.terms.job, options.terms.opener);
  }

  get size(): number {
    return this.leases.size;
  }

  get(number: number): Lease | undefined {
    return this.leases.get(number);
  }

  /** As they are now. */
  all(): Lease[] {
    return [...this.leases.values()];
  }

  /** Puts a call into the queue. */
  async publish(call: QueueCall): Promise<void> {
    const { terms, calls, line, id, group, url, lost } = this.options;
    const number = ++this.numbers;
    const now = terms.clock.now();
    const lease: Lease = {
      number,
      call,
      since: now,
      sequence: null,
      looked: now,
      standing: "offered",
      brought: new Map(),
    };
    this.leases.set(number, lease);
    call.leases.add(lease);
    calls.running.add(call);
    try {
      const subject = subjects.task(group, id);
      const task: QueueTask = {
        protocol: queueProtocol,
        job: id,
        lease: number,
        kernel: terms.kernels.sha256,
        coordinator: url,
        leaseMs: terms.leaseMs,
        task: call.task,
        ranges: call.ranges,
        locators: await this.locators(call.ranges),
      };
      const message = seal(terms.key, "task", subject, task);
      if (message.length > messageBytes) {
        lost(lease, true);
        return;
      }
      const sequence = await line.publish(`${id}-${number}`, message);
      lease.sequence = sequence;
      // Done meanwhile by somebody else.
      if (sequence !== null && !this.leases.has(number)) line.withdraw(sequence);
    } catch (error) {
      calls.settle(call, null, error);
    }
  }

  private async locators(ranges: readonly Range[]) {
    const out = [];
    for (const file of new Set(ranges.map((r) => r.file))) {
      const { path } = this.options.terms.job.files[file]!;
      out.push({ file, path, version: await this.versions.of(file) });
    }
    return out;
  }

  /** Of a worker the last that it brought counts, and of all no more than may have had the task. */
  bring(number: number, worker: string, brought: Brought): void {
    const all = this.leases.get(number)?.brought;
    if (!all) return;
    all.delete(worker);
    if (all.size >= maxDeliver) all.delete(all.keys().next().value!);
    all.set(worker, brought);
  }

  /** Takes a task out of the queue. */
  drop(lease: Lease): void {
    this.leases.delete(lease.number);
    lease.call.leases.delete(lease);
    if (lease.sequence !== null) this.options.line.withdraw(lease.sequence);
  }

  /** Asks for those that take long whether the queue has them still. */
  look(now: number): void {
    for (const lease of this.leases.values()) if (now - lease.looked > lookMs) void this.lookFor(lease, now);
  }

  /**
   * A task that is neither in the queue nor answered was taken and never brought: it goes in again. One that is given to nobody any
   * more is done here.
   */
  private async lookFor(lease: Lease, now: number): Promise<void> {
    const { line, lost, exhausted } = this.options;
    lease.looked = now;
    if (lease.sequence === null) return;
    const standing = await line.standing(lease.sequence);
    // Its result may be on the way: what stands like that for the second time is lost.
    if (standing === lease.standing && this.leases.has(lease.number)) {
      if (standing === "gone") lost(lease);
      else if (standing === "exhausted") exhausted(lease);
    }
    lease.standing = standing;
  }
}

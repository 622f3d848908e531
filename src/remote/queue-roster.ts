// The workers of a queue as one of its coordinators has heard of them.

import type { NodeReport } from "./member.ts";
import { QueueMember } from "./queue-member.ts";
import type { WorkerName } from "./queue-wire.ts";

/** Workers of one job that are remembered: those that come and go under new names do not fill the memory. */
const maxMembers = 4096;

export class QueueRoster {
  private readonly members = new Map<string, QueueMember>();
  private readonly report: (report: NodeReport) => void;

  constructor(report: (report: NodeReport) => void) {
    this.report = report;
  }

  member(name: WorkerName): QueueMember {
    let member = this.members.get(name.id);
    if (!member) {
      member = new QueueMember(name, this.report);
      if (this.members.size < maxMembers) this.members.set(name.id, member);
    }
    return member;
  }

  banned(id: string): boolean {
    return this.members.get(id)?.banned ?? false;
  }

  /** Tasks that all of them take at a time, now. */
  lanesAt(now: number): number {
    let lanes = 0;
    for (const member of this.members.values()) lanes += member.lanesAt(now);
    return lanes;
  }

  /** Finds out who is silent. */
  look(now: number): void {
    for (const member of this.members.values()) member.look(now);
  }

  leave(): void {
    for (const member of this.members.values()) member.leave();
  }
}

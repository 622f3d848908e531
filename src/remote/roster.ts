// The nodes of a merge. They come and go; whoever is free and fastest for the bytes in question takes the next task.

import { wholeAudits } from "./audit.ts";
import { type ClientOptions, type NodeAddress, NodeClient } from "./client.ts";
import type { NodeKernels } from "./kernels.ts";
import { Member, type NodeReport } from "./member.ts";
import { type NodeCall, partsFor } from "./node-call.ts";

/**
 * Nodes that have proved nothing yet and have tasks, at most. Every new node costs this machine its first tasks, which are computed
 * here whole: a thousand that begin at once would keep it busy with nothing else.
 */
export const probationers = 16;
/** While so many answers wait to be looked at, this machine has enough to do without new nodes. */
const mostChecking = 4;

export interface RosterOptions {
  readonly client: ClientOptions;
  readonly kernels: NodeKernels;
  readonly report: (report: NodeReport) => void;
  /** A node may be free now that was not. */
  readonly ready: () => void;
  /** Whether a node reads all that a task needs itself. */
  readonly near: (call: NodeCall, member: Member) => boolean;
  /** Answers that wait to be looked at. */
  readonly checking: () => number;
}

export class Roster {
  readonly members: Member[] = [];
  private readonly options: RosterOptions;
  private readonly over: AbortSignal;

  constructor(options: RosterOptions, over: AbortSignal) {
    this.options = options;
    this.over = over;
  }

  /** These nodes and no others. One that is new joins; one that is not listed finishes what it has. */
  use(nodes: readonly NodeAddress[]): void {
    const listed = new Map(nodes.map((n) => [n.url, n]));
    for (const member of this.members) {
      if (listed.delete(member.client.address.url)) member.recall(this.over);
      else member.dismiss();
    }
    for (const address of listed.values()) this.add(address);
  }

  get slots(): number {
    return this.members.reduce((sum, m) => sum + (m.gone ? 0 : m.slots), 0);
  }

  get anyFree(): boolean {
    const open = this.open();
    return this.members.some((m) => m.free && open(m));
  }

  /** Whether a node may begin something now, as far as the others are concerned. */
  private open(): (member: Member) => boolean {
    let seats = this.options.checking() < mostChecking ? probationers : 0;
    for (const member of this.members) if (member.onProbation) seats--;
    return (m) => m.proven || (m.inFlight === 0 ? seats > 0 : m.inFlight < wholeAudits);
  }

  /** No node can be hoped for with this task. */
  alone(call: NodeCall): boolean {
    return this.members.every((m) => !m.usable || call.unfit.has(m));
  }

  /** The node that a task should go to now, or null. */
  free(call: NodeCall): Member | null {
    const { sliceBytes } = this.options.client.limits;
    const open = this.open();
    const free = this.members.filter(
      (m) => m.free && open(m) && !call.answers.some((a) => a.member === m) && partsFor(call, m, sliceBytes) !== null,
    );
    // A node that failed at it may try again when all that could have it did.
    const fresh = free.filter((m) => !call.tried.has(m));
    const others = this.members.some((m) => m.usable && !call.tried.has(m) && !call.unfit.has(m));
    const candidates =
      fresh.length > 0 || others ? fresh : free.filter((m) => ![...call.attempts].some((a) => a.member === m));
    let best: Member | null = null;
    let most = Number.NEGATIVE_INFINITY;
    for (const member of candidates) {
      const speed = member.speed(this.options.near(call, member));
      if (speed > most) [best, most] = [member, speed];
    }
    return best;
  }

  /** Whether so many nodes can still answer a task, counting those that did. */
  canAgree(call: NodeCall, wanted: number): boolean {
    const answered = new Set(call.answers.map((a) => a.member));
    return (
      answered.size + this.members.filter((m) => m.usable && !answered.has(m) && !call.unfit.has(m)).length >= wanted
    );
  }

  private add(address: NodeAddress): void {
    const { client, kernels, report, ready } = this.options;
    const member: Member = new Member(new NodeClient(address, client), kernels, client.clock, (r) => {
      report(r);
      if (r.state === "ready") ready();
    });
    this.members.push(member);
    void member.join(this.over).then(ready);
  }
}

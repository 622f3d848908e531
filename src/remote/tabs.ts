// Browser tabs that work for a node. They get tasks that coordinators sent, with the bytes; what they answer is audited here before
// it is passed on, and what no tab does the node's own kernels do.

import type { Task } from "../kernel/program.ts";
import { Auditor, auditsWhole, goldenTask, receiptHash, sameBytes } from "./audit.ts";
import type { Clock } from "./clock.ts";
import type { NodeKernels, OwnKernels, TaskData, TaskResult } from "./kernels.ts";
import type { NodeLimits } from "./limits.ts";
import { rangeReader } from "./ranges.ts";
import { sameSecret } from "./sign.ts";
import { noResult, Tab, type TabSocket } from "./tab.ts";
import { isHex, type JoinText, joinProof, maxTextBytes, tabDepth, tabProtocol } from "./tab-wire.ts";

/** Sockets, joined or not. */
export const maxTabs = 256;
/** Whoever has not proved by then that it knows the secret is disconnected. */
export const joinMs = 10_000;
/** A tab that has a task for so long has lost it: less than a coordinator waits for the node. */
export const tabLeaseMs = 20_000;
/** Pages that lied, and jobs that they lied to, are remembered. */
const remembered = 4096;

export interface TabReport {
  readonly id: string;
  readonly state: "joined" | "left" | "banned";
  readonly message: string;
  /** Of this thread of a tab. */
  readonly tasks: number;
  /** Threads of tabs that are there now. */
  readonly tabs: number;
}

export interface TabsOptions {
  /** The node's own: they run what no tab does. */
  readonly own: NodeKernels;
  /** For audits and test merges, in this thread. */
  readonly auditing: OwnKernels;
  /** 64 hex digits. */
  readonly secret: string;
  readonly limits: NodeLimits;
  readonly clock: Clock;
  /** In [0, 1): chooses what is audited. */
  readonly random: () => number;
  readonly report: (report: TabReport) => void;
}

/** Node kernels that tabs help with, and the events of the tabs' sockets. */
export interface Tabs extends NodeKernels {
  open(socket: TabSocket): { message(data: string | Uint8Array<ArrayBuffer>): void; closed(): void };
  /** Tasks that tabs did. */
  readonly done: number;
}

export function createTabs(options: TabsOptions): Tabs {
  return new TabPool(options);
}

class TabPool implements Tabs {
  readonly sha256: string;
  done = 0;
  private readonly options: TabsOptions;
  private readonly tabs = new Set<Tab>();
  private readonly banned = new Set<string>();
  private readonly tainted = new Set<string>();
  private readonly secretKey = crypto.getRandomValues(new Uint8Array(32));
  private ownRunning = 0;
  private leases = 0;

  constructor(options: TabsOptions) {
    this.options = options;
    this.sha256 = options.own.sha256;
  }

  /** Of the node and of all tabs that are there now. */
  get cores(): number {
    return this.options.own.cores + this.ready().length;
  }

  /** Undefined while all cores are taken: then the bytes are read here, so that a tab can have them. */
  get runPlaced(): NonNullable<NodeKernels["runPlaced"]> | undefined {
    const { own } = this.options;
    if (!own.runPlaced || (this.ready().length > 0 && this.ownRunning >= own.cores)) return undefined;
    return (task, places, signal) => this.counted(() => own.runPlaced!(task, places, signal));
  }

  recalled(job: string): boolean {
    return this.tainted.has(job);
  }

  async run(task: Task, data: TaskData, signal: AbortSignal, job = ""): Promise<TaskResult> {
    for (;;) {
      signal.throwIfAborted();
      const tab = this.choose();
      if (!tab) return this.counted(() => this.options.own.run(task, data, signal));
      const result = await this.ask(tab, task, data, signal);
      if (!result) continue;
      const whole = auditsWhole(task, tab.tasks, this.options.random);
      const wrong = await this.auditorOf(data).fault(task, result, whole);
      if (wrong) {
        this.ban(tab, wrong);
        continue;
      }
      // While this was computed, another answer of it may have been found wrong.
      if (this.banned.has(tab.id)) continue;
      tab.tasks++;
      this.done++;
      if (!whole) tab.jobs.add(job);
      return result;
    }
  }

  async close(): Promise<void> {
    for (const tab of [...this.tabs]) tab.socket.close();
    await this.options.own.close?.();
  }

  open(socket: TabSocket) {
    const tab = new Tab(socket);
    if (this.tabs.size >= maxTabs) {
      this.refuse(tab, `${maxTabs} tabs work for this node already`);
    } else {
      this.tabs.add(tab);
      tab.say({ type: "challenge", protocol: tabProtocol, kernel: this.sha256, nonce: tab.nonce });
      void this.options.clock.wait(joinMs).then(() => {
        if (tab.state === "new") this.refuse(tab, "it did not join in time");
      });
    }
    return {
      message: (data: string | Uint8Array<ArrayBuffer>) => this.hear(tab, data),
      closed: () => this.leave(tab),
    };
  }

  private ready(): Tab[] {
    return [...this.tabs].filter((tab) => tab.state === "ready");
  }

  /** A tab for a task, or null: the node's own kernels. Idle ones first, then own cores, then a second task for a tab. */
  private choose(): Tab | null {
    let least: Tab | null = null;
    for (const tab of this.ready()) {
      const more = least ? tab.busy - least.busy || tab.tasks - least.tasks : -1;
      if (more < 0) least = tab;
    }
    if (!least || least.busy >= tabDepth) return null;
    return least.busy === 0 || this.ownRunning >= this.options.own.cores ? least : null;
  }

  private async counted<T>(work: () => Promise<T>): Promise<T> {
    this.ownRunning++;
    try {
      return await work();
    } finally {
      this.ownRunning--;
    }
  }

  /** Null: it did not do it. */
  private async ask(tab: Tab, task: Task, data: TaskData, signal: AbortSignal): Promise<TaskResult | null> {
    const lease = ++this.leases;
    const over = new AbortController();
    const late = this.options.clock.wait(tabLeaseMs, over.signal).then(() => {
      if (!over.signal.aborted && tab.has(lease)) this.refuse(tab, "it has a task for too long");
    });
    try {
      return await tab.run(lease, task, data, signal);
    } finally {
      over.abort();
      await late;
      tab.drop(lease);
    }
  }

  private hear(tab: Tab, data: string | Uint8Array<ArrayBuffer>): void {
    if (tab.state === "gone") return;
    if (typeof data === "string") {
      if (tab.state !== "new" || data.length > maxTextBytes) this.refuse(tab, "it said what it should not");
      else this.join(tab, data);
      return;
    }
    const fault = tab.state === "new" ? noResult : tab.take(data, this.leases, this.options.limits.sliceBytes);
    if (fault !== null) this.refuse(tab, fault);
  }

  private join(tab: Tab, text: string): void {
    const said = this.joiner(tab, text);
    if (typeof said === "string") {
      this.refuse(tab, said);
      return;
    }
    tab.id = said.id;
    tab.state = "testing";
    void this.test(tab);
  }

  /** Who wants to join, or why it may not. */
  private joiner({ nonce }: Tab, text: string): JoinText | string {
    let said: JoinText;
    try {
      said = JSON.parse(text) as JoinText;
    } catch {
      return "it said what it should not";
    }
    if (said?.type !== "join" || !isHex(said.id, 32)) return "it did not say who it is";
    const proof = joinProof(this.options.secret, nonce, said.id);
    if (typeof said.proof !== "string" || !sameSecret(this.secretKey, proof, said.proof))
      return "open the address that braid serve printed, whole: this one is not, or is of an earlier start";
    if (said.kernel !== this.sha256) return "its kernels are others: load the page again";
    return this.banned.has(said.id) ? "it gave wrong bytes" : said;
  }

  /** A tab that joins must merge bytes that nobody saw before as this node does. */
  private async test(tab: Tab): Promise<void> {
    const { auditing } = this.options;
    const never = new AbortController().signal;
    const { task, data } = goldenTask();
    const got = await this.ask(tab, task, { ...data, bytes: data.bytes }, never);
    const want = await auditing.run(task, data, never);
    if (tab.state !== "testing") return;
    if (!got) {
      this.refuse(tab, "it did not answer");
    } else if (!sameBytes(got.output, want.output) || receiptHash(got.receipt) !== receiptHash(want.receipt)) {
      this.ban(tab, "it failed the test merge");
    } else {
      tab.state = "ready";
      tab.say({ type: "welcome" });
      this.tell(tab, "joined", "");
    }
  }

  private auditorOf({ ranges, bytes }: TaskData): Auditor {
    const { auditing, random } = this.options;
    const nowhere = () => {
      throw new Error("an audit of carried bytes writes nothing");
    };
    const files = { read: rangeReader(ranges, bytes).read, write: nowhere, readBack: nowhere };
    return new Auditor({ files, kernels: auditing, random });
  }

  /** A page that gave wrong bytes: none of its threads is believed any more, and the jobs that believed it are told. */
  private ban(tab: Tab, why: string): void {
    remember(this.banned, tab.id);
    for (const other of [...this.tabs]) {
      if (other.id !== tab.id) continue;
      for (const job of other.jobs) remember(this.tainted, job);
      other.say({ type: "refused", message: `a wrong result: ${why}` });
      this.leave(other, why);
      other.socket.close();
    }
  }

  private refuse(tab: Tab, message: string): void {
    tab.say({ type: "refused", message });
    this.leave(tab);
    tab.socket.close();
  }

  /** What it had goes to somebody else. */
  private leave(tab: Tab, banned?: string): void {
    if (tab.state === "gone") return;
    const told = tab.state === "ready";
    tab.state = "gone";
    this.tabs.delete(tab);
    tab.giveUp();
    if (banned !== undefined) this.tell(tab, "banned", banned);
    else if (told) this.tell(tab, "left", "");
  }

  private tell({ id, tasks }: Tab, state: TabReport["state"], message: string): void {
    this.options.report({ id, state, message, tasks, tabs: this.ready().length });
  }
}

function remember(set: Set<string>, value: string): void {
  set.add(value);
  if (set.size > remembered) set.delete(set.values().next().value!);
}

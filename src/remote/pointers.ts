// Where a node finds the bytes of a task without being sent them: on a disk that it shares, on a hub, or at this coordinator's address.

import type { Job } from "../exec/executor.ts";
import type { Opener } from "../exec/files.ts";
import type { Task } from "../kernel/program.ts";
import type { Copies, Copy } from "./copies.ts";
import type { Member } from "./member.ts";
import type { NodeCall } from "./node-call.ts";
import type { Range } from "./ranges.ts";
import { Versions } from "./versions.ts";
import { type Locator, outputBytes, type Target } from "./wire.ts";

/** The coordinator's own inputs, for nodes that do not share its disk. */
export interface ServedInputs {
  /** As nodes see it: `http://10.0.0.5:7500`. */
  readonly origin: string;
  /** An address of a file of the job, good for a while, and its ETag. */
  locate(file: number): Promise<{ readonly url: string; readonly version: string }>;
}

/** Where a node is not pointed at: at hubs, or anywhere at all. */
export type LeftOut = "nothing" | "copies" | "all";

const below = (path: string, roots: readonly string[]) =>
  roots.some((root) => path.startsWith(root.endsWith("/") ? root : `${root}/`));

export class Pointers {
  private readonly job: Job;
  private readonly served: ServedInputs | null;
  /** By file of the job. */
  private readonly copies: readonly (Copy | undefined)[];
  private readonly versions: Versions;
  /** Files that are below a node's roots. Every dispatch asks for every free node, and comparing paths was a third of it. */
  private readonly shared = new WeakMap<readonly string[], readonly boolean[]>();

  constructor(job: Job, opener: Opener, served: ServedInputs | null, copies: Copies | null = null) {
    this.job = job;
    this.versions = new Versions(job, opener);
    this.served = served;
    this.copies = copies ? job.files.map(({ path, mode }) => (mode === "read" ? copies.get(path) : undefined)) : [];
  }

  /** Whether a node reads all that a task needs itself. */
  near(ranges: readonly Range[], member: Member): boolean {
    return ranges.every((r) => this.reads(r.file, member) !== null);
  }

  /** Files of a task that a node reads itself, and where it writes, if it does. */
  async of(
    task: Task,
    ranges: readonly Range[],
    member: Member,
    without: LeftOut = "nothing",
  ): Promise<{ locators: Locator[]; target: Target | null }> {
    if (without === "all") return { locators: [], target: null };
    const locators: Locator[] = [];
    let paths = true;
    for (const file of new Set(ranges.map((r) => r.file))) {
      const how = this.reads(file, member, without === "nothing");
      if (how !== "path") paths = false;
      if (how === "path") locators.push({ file, path: this.path(file), version: await this.versions.of(file) });
      else if (how === "copy") {
        const { url, version } = this.copies[file]!;
        locators.push({ file, url, version });
      } else if (how === "address") locators.push({ file, ...(await this.served!.locate(file)) });
    }
    // Only a node that reads every byte of a task itself writes it too: others need its bytes in their hands anyway.
    if (!paths || task.kind !== "merge" || !member.writesItself) return { locators, target: null };
    const path = this.path(task.output.file);
    if (!below(path, member.writeRoots)) return { locators, target: null };
    return { locators, target: { path, version: await this.versions.of(task.output.file) } };
  }

  /** A node could not read what it was pointed at: what it is not to be pointed at when it is asked again. */
  blame(locators: readonly Locator[], member: Member, without: LeftOut): LeftOut {
    const addresses = locators.filter((l) => "url" in l);
    if (addresses.length === 0) {
      member.readsPaths = false;
      return without;
    }
    if (addresses.some((l) => this.copies[l.file]?.url === l.url)) {
      member.copyFailures++;
      return "copies";
    }
    member.addressFailures++;
    return "all";
  }

  private reads(file: number, member: Member, copies = true): "path" | "copy" | "address" | null {
    if (member.readsPaths && member.roots.length > 0 && this.sharedWith(member.roots)[file]) return "path";
    const copy = copies && member.readsCopies ? this.copies[file] : undefined;
    if (copy && member.hosts.includes(copy.host)) return "copy";
    const { served } = this;
    return served && member.readsAddresses && member.origins.includes(served.origin) ? "address" : null;
  }

  private sharedWith(roots: readonly string[]): readonly boolean[] {
    let files = this.shared.get(roots);
    if (!files) {
      files = this.job.files.map(({ path }) => below(path, roots));
      this.shared.set(roots, files);
    }
    return files;
  }

  /** Bytes of a task that travel by this coordinator: inputs that a node is sent, and the output unless it writes that itself. */
  carried(call: Pick<NodeCall, "task" | "ranges" | "bytes">, member: Member): number {
    const output = outputBytes(call.task);
    const read = this.near(call.ranges, member) ? 0 : call.bytes - output;
    return read + (read === 0 && member.writesItself && member.writeRoots.length > 0 ? 0 : output);
  }

  private path(file: number): string {
    return this.job.files[file]!.path;
  }
}

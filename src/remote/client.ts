// One node as its coordinator sees it: asks it, and believes an answer only when it is whole and belongs to the question.

import { isBraidError } from "../errors.ts";
import type { Task } from "../kernel/program.ts";
import { ask, type Fetch, NodeError, smallBytes } from "./ask.ts";
import type { Clock } from "./clock.ts";
import { Blank, decodeFrame, encodeFrame } from "./frame.ts";
import type { TaskResult } from "./kernels.ts";
import { frameOverhead, type NodeLimits } from "./limits.ts";
import { type Range, rangeBytes } from "./ranges.ts";
import { deriveKey, type Key } from "./sign.ts";
import {
  type About,
  type AnswerMessage,
  type Locator,
  outputBytes,
  protocol,
  receiptFault,
  routeOf,
  routes,
  type Target,
  type TaskMessage,
} from "./wire.ts";

export interface NodeAddress {
  /** http or https, without a path. */
  readonly url: string;
  readonly token: string | null;
}

export { type Fetch, NodeError, type NodeFault } from "./ask.ts";

export interface ClientOptions {
  readonly fetch: Fetch;
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly today: () => number;
  readonly job: string;
  readonly kernel: string;
  readonly limits: NodeLimits;
}

/** A task, and how its bytes get to the node and back. */
export interface Errand {
  readonly task: Task;
  readonly ranges: readonly Range[];
  /** Files that the node reads itself. */
  readonly locators: readonly Locator[];
  /** Reads a range of the others into its place in the request. */
  readonly fill: (range: Range, target: Uint8Array<ArrayBuffer>) => void | Promise<void>;
  /** Where the node writes the output itself; null: it sends it. */
  readonly target: Target | null;
}

export class NodeClient {
  readonly address: NodeAddress;
  private readonly options: ClientOptions;
  private readonly key: Key | null;

  constructor(address: NodeAddress, options: ClientOptions) {
    this.address = address;
    this.options = options;
    this.key = address.token === null ? null : deriveKey(address.token);
  }

  async healthy(signal: AbortSignal): Promise<boolean> {
    try {
      const response = await this.options.fetch(this.url(routes.health), { signal, redirect: "error" });
      await response.body?.cancel();
      return response.ok;
    } catch {
      return false;
    }
  }

  async about(signal: AbortSignal): Promise<About> {
    const bytes = await this.ask("GET", routes.about, new Uint8Array(), 0, smallBytes, signal);
    let about: About;
    try {
      about = JSON.parse(new TextDecoder().decode(bytes)) as About;
    } catch {
      throw new NodeError("invalid", "what it says of itself is no JSON");
    }
    const whole = Number.isSafeInteger(about?.cores) && about.cores > 0 && Array.isArray(about.roots);
    if (!whole || !((about.limits?.sliceBytes ?? 0) > 0))
      throw new NodeError("invalid", "what it says of itself is not what a node says");
    if (about.protocol !== protocol) throw new NodeError("unfit", `it speaks ${about.protocol}, not ${protocol}`);
    if (about.kernel !== this.options.kernel)
      throw new NodeError(
        "unfit",
        `its kernels are ${String(about.kernel).slice(0, 12)}…, not ${this.options.kernel.slice(0, 12)}…`,
      );
    return about;
  }

  /**
   * Runs a task there.
   *
   * @throws NodeError for all that is the node's doing; what `fill` throws as it is.
   */
  async run(errand: Errand, lease: number, signal: AbortSignal): Promise<TaskResult> {
    const { task, ranges, locators, fill, target } = errand;
    const { job, kernel, limits } = this.options;
    const located = new Set(locators.map((l) => l.file));
    const inlined = ranges.filter((r) => !located.has(r.file));
    const inlineBytes = new Blank(rangeBytes(inlined));
    const message = { protocol, job, lease, kernel, task, ranges, locators, inline: inlineBytes, target };
    const frame = encodeFrame(message satisfies { [K in keyof TaskMessage]: unknown });
    if (frame.descriptorBytes > limits.descriptorBytes) throw new NodeError("task", "its descriptor is too long");
    const [inline] = frame.blanks;
    let at = 0;
    for (const range of inlined) {
      const length = range.end - range.start;
      const pending = fill(range, inline!.subarray(at, at + length));
      if (pending) await pending;
      at += length;
    }
    const limit = limits.sliceBytes + frameOverhead(limits);
    const bytes = await this.ask("POST", routeOf(task), frame.bytes, lease, limit, signal);
    let answer: AnswerMessage;
    try {
      answer = decodeFrame(bytes, limits.sliceBytes) as AnswerMessage;
    } catch (e) {
      throw new NodeError("invalid", isBraidError(e) ? e.message : "its answer cannot be read");
    }
    const slice = answer?.slice;
    const bound =
      answer?.protocol === protocol &&
      answer.job === job &&
      answer.lease === lease &&
      answer.kernel === kernel &&
      slice?.kind === task.kind &&
      slice.first === task.first &&
      slice.count === task.count;
    if (!bound) throw new NodeError("invalid", "its answer is to another question");
    const fault = receiptFault(task, answer.receipt);
    if (fault) throw new NodeError("invalid", `its receipt is wrong: ${fault}`);
    const written = target !== null && answer.written === true;
    if (!(answer.output instanceof Uint8Array) || answer.output.length !== (written ? 0 : outputBytes(task)))
      throw new NodeError("invalid", "its output has another length than the slice");
    return { receipt: answer.receipt, output: answer.output, written };
  }

  private url(route: string): string {
    return new URL(route, this.address.url).href;
  }

  private ask(
    method: "GET" | "POST",
    route: string,
    body: Uint8Array<ArrayBuffer>,
    lease: number,
    limit: number,
    signal: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const question = { method, url: this.address.url, route, body, job: this.options.job, lease, limit };
    return ask({ ...this.options, key: this.key }, question, signal);
  }
}

// A node: a Hono app that knows no runtime. It takes tasks, runs its own kernels on them and answers with the bytes; no code is
// ever taken. What it refuses, and with which status, is docs/protocol.md's table.

import { type Context, Hono } from "hono";
import type { Task } from "../kernel/program.ts";
import { declaredLength, readBody } from "./body.ts";
import type { Clock } from "./clock.ts";
import { decodeFrame, encodeFrame } from "./frame.ts";
import type { NodeKernels } from "./kernels.ts";
import { frameOverhead, type NodeLimits, nodeLimits } from "./limits.ts";
import { noReach, placesOf, type Reach, readRanges } from "./locate.ts";
import { openApi } from "./openapi.ts";
import { rangeBytes, rangesFault } from "./ranges.ts";
import { busyRetrySeconds, drainRetrySeconds, Refused, refuse, refuseDenied } from "./refusal.ts";
import { answerSignature, createGate, deriveKey, openGate, sha256Hex } from "./sign.ts";
import {
  type About,
  type AnswerMessage,
  frameHeaders,
  frameType,
  headers,
  outputBytes,
  protocol,
  routes,
  type TaskMessage,
  taskFault,
} from "./wire.ts";

export interface AppOptions {
  readonly kernels: NodeKernels;
  readonly limits?: Partial<NodeLimits>;
  /** How many of it the host starts beside each other when requests come at the same time. This app is one of them. */
  readonly instances?: number;
  /** Null: whoever reaches the node may use it. */
  readonly token: string | null;
  /** What the node may read itself. */
  readonly reach?: Reach;
  readonly version: string;
  readonly runtime: string;
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly today: () => number;
}

/** What an adapter says of a request: who sent it, so that one client's failures do not lock out another. */
export interface Caller {
  readonly client?: string;
}

/** Tasks that run, and those that wait for it. */
class Slots {
  /** It may change while tasks wait. */
  private readonly cores: () => number;
  private readonly factor: number;
  private most = 0;
  private running = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(cores: () => number, factor: number) {
    this.cores = cores;
    this.factor = factor;
  }

  get full(): boolean {
    // Coordinators go by the cores that they were told of: when there are fewer by now, their tasks wait here.
    this.most = Math.max(this.most, this.cores());
    return this.running + this.waiting.length >= this.most * (1 + this.factor);
  }

  async use<T>(work: () => Promise<T>): Promise<T> {
    if (this.full) throw new Refused(503, "busy", "all cores are busy and the queue is full", busyRetrySeconds);
    if (this.running >= this.cores()) await new Promise<void>((resolve) => this.waiting.push(resolve));
    else this.running++;
    try {
      return await work();
    } finally {
      // Whoever waits longest takes the place over.
      const next = this.waiting.shift();
      if (next) next();
      else this.running--;
    }
  }
}

/** A node's app, and how it comes to an end. */
export interface NodeApp extends Hono {
  /** Takes nothing new from now on; resolves when what was begun is answered, or after `ms`. */
  drain(ms: number): Promise<void>;
}

export function createApp(options: AppOptions): NodeApp {
  const { kernels, token, clock, version, runtime } = options;
  const limits: NodeLimits = { ...nodeLimits, ...options.limits };
  const reach = options.reach ?? noReach;
  const key = token === null ? null : deriveKey(token);
  const gate = key ? createGate(key, options.today, limits) : openGate;
  const slots = new Slots(() => kernels.cores, limits.queueFactor);
  let connections = 0;
  let draining = false;
  let idle: (() => void) | null = null;

  const about = (): About => ({
    protocol,
    version,
    runtime,
    cores: kernels.cores * (options.instances ?? 1),
    kernel: kernels.sha256,
    limits,
    roots: reach.roots,
    writeRoots: reach.writeRoots ?? [],
    hosts: reach.hosts,
    origins: reach.origins ?? [],
    relays: kernels.recalled !== undefined,
  });

  const admit = (c: Context) => {
    const client = (c.env as Caller | undefined)?.client ?? "unknown";
    const denial = gate.check({ method: c.req.method, path: c.req.path, headers: c.req.raw.headers }, client);
    if (denial) refuseDenied(denial);
  };

  /** Who was given wrong answers is told at the next question, whatever it is. */
  const stopRecalled = (job: string | undefined) => {
    if (job !== undefined && kernels.recalled?.(job))
      throw new Refused(409, "recalled", "what it did for this job is not to be believed: a helper of it lied");
  };

  async function readTask(c: Context, kind: Task["kind"]): Promise<TaskMessage> {
    const request = c.req.raw;
    const given = (name: keyof typeof headers) => request.headers.get(headers[name]);
    const bodyLimit = limits.sliceBytes + frameOverhead(limits);
    // Everything that the headers can say against a request is said before its body is read.
    declaredLength(request.headers, bodyLimit);
    if (request.headers.get("content-type") !== frameType)
      throw new Refused(415, "unsupported", `a task is sent as ${frameType}`);
    if (given("protocol") !== protocol) throw new Refused(409, "protocol", `this node speaks ${protocol}`);
    if (given("kernel") !== kernels.sha256)
      throw new Refused(409, "kernel-mismatch", `this node's kernels are ${kernels.sha256}`);
    const body = await readBody(request, bodyLimit, limits, clock);
    if ((await sha256Hex(body)) !== given("hash"))
      throw new Refused(400, "bad-request", `the body has another SHA-256 than ${headers.hash} says`);
    const message = decodeFrame(body, limits.descriptorBytes) as TaskMessage;
    const fault = messageFault(message, kind);
    if (fault) throw new Refused(422, "bad-task", fault);
    if (message.job !== given("job") || String(message.lease) !== given("lease") || message.kernel !== kernels.sha256)
      throw new Refused(400, "bad-request", "job, lease or kernel are not those of the headers");
    const bytes = rangeBytes(message.ranges);
    for (const [what, n] of [
      ["input", bytes],
      ["output", outputBytes(message.task)],
    ] as const) {
      if (n > limits.sliceBytes)
        throw new Refused(413, "too-large", `the task has ${n} ${what} bytes, the limit is ${limits.sliceBytes}`);
    }
    return message;
  }

  async function runTask(c: Context, kind: Task["kind"]): Promise<Response> {
    admit(c);
    if (slots.full) throw new Refused(503, "busy", "all cores are busy and the queue is full", busyRetrySeconds);
    const message = await readTask(c, kind);
    const { task, ranges, locators, job, lease } = message;
    stopRecalled(job);
    const result = await slots.use(async () => {
      const places = kernels.runPlaced && locators.length > 0 ? placesOf(message, reach) : null;
      if (places) return kernels.runPlaced!(task, places, c.req.raw.signal);
      const bytes = await readRanges(ranges, locators, message.inline, reach, limits, clock);
      return kernels.run(task, { ranges, bytes }, c.req.raw.signal, job);
    });
    stopRecalled(job);
    const answer: AnswerMessage = {
      protocol,
      job,
      lease,
      kernel: kernels.sha256,
      slice: { kind: task.kind, first: task.first, count: task.count },
      ...result,
    };
    const { bytes } = encodeFrame(answer);
    const hash = await sha256Hex(bytes);
    return new Response(bytes, { headers: { ...frameHeaders(bytes, hash), ...sign(c, 200, hash) } });
  }

  const sign = (c: Context, status: number, hash: string): Record<string, string> => {
    const nonce = c.req.header(headers.nonce);
    return key && nonce ? { [headers.signature]: answerSignature(key, nonce, status, hash) } : {};
  };

  const signedJson = async (c: Context, value: unknown) => {
    const bytes = new TextEncoder().encode(JSON.stringify(value));
    const hash = await sha256Hex(bytes);
    const type = { "content-type": "application/json", [headers.hash]: hash };
    return new Response(bytes, { headers: { ...type, ...sign(c, 200, hash) } });
  };

  const app = new Hono();
  app.onError(refuse);
  app.notFound(() => refuse(new Refused(404, "not-found", "there is no such route: see /openapi.json")));
  app.use(async (c, next) => {
    if (draining && c.req.path !== routes.health)
      throw new Refused(503, "draining", "this node is about to end", drainRetrySeconds);
    if (connections >= limits.connections)
      throw new Refused(503, "busy", `${limits.connections} requests are under way`, busyRetrySeconds);
    connections++;
    try {
      await next();
    } finally {
      connections--;
      if (connections === 0) idle?.();
    }
  });
  app.get(routes.health, (c) => c.json({ ok: true }));
  app.get(routes.openapi, (c) => c.json(openApi(version, limits)));
  app.get(routes.about, (c) => {
    admit(c);
    stopRecalled(c.req.header(headers.job));
    return signedJson(c, about());
  });
  app.post(routes.survey, (c) => runTask(c, "survey"));
  app.post(routes.slice, (c) => runTask(c, "merge"));
  return Object.assign(app, {
    async drain(ms: number) {
      draining = true;
      if (connections === 0) return;
      const over = new AbortController();
      const done = new Promise<void>((resolve) => {
        idle = resolve;
      });
      await Promise.race([done, clock.wait(ms, over.signal)]);
      over.abort();
    },
  });
}

/** What is wrong with a message from a stranger, or null. */
function messageFault(message: TaskMessage, kind: Task["kind"]): string | null {
  if (typeof message !== "object" || message === null) return "the message is no object";
  const { task, ranges, locators, inline, target } = message;
  const fault = taskFault(task) ?? rangesFault(ranges);
  if (fault) return fault;
  if (task.kind !== kind) return `a ${task.kind} task does not go to this route`;
  if (!(inline instanceof Uint8Array)) return "it has no inline bytes";
  if (!Array.isArray(locators) || locators.length > 1024) return "it has no list of at most 1024 locators";
  for (const l of locators) {
    if (typeof l !== "object" || l === null || !Number.isSafeInteger(l.file)) return "a locator names no file";
    const url = "url" in l && typeof l.url === "string" && (l.version === null || typeof l.version === "string");
    const path = "path" in l && typeof l.path === "string" && typeof l.version === "string";
    if (url === path) return "a locator is neither an address nor a path";
  }
  const places =
    target === undefined || target === null || [target.path, target.version].every((t) => typeof t === "string");
  if (!places) return "its target is no path";
  const located = new Set(locators.map((l) => l.file));
  const bytes = rangeBytes(ranges.filter((r) => !located.has(r.file)));
  return inline.length === bytes ? null : `its ranges have ${bytes} inline bytes, it has ${inline.length}`;
}

// What a node takes before it refuses. A deployment may lower each of them; docs/protocol.md says what a refusal looks like.

const KiB = 1024;
const MiB = 1024 * KiB;

export const nodeLimits = {
  /** The JSON of a request or an answer. */
  descriptorBytes: 256 * KiB,
  /** Input bytes of a task, and so nearly all of a request's body. */
  sliceBytes: 64 * MiB,
  /** A body above this must say its length. */
  unsizedBytes: MiB,
  /** Input bytes and output bytes of one element range that one worker has in its kernel's memory at a time. */
  workerBytes: 64 * MiB,
  /** Requests of any kind at the same time, and connections: one without a request gives way to a new one. */
  connections: 64,
  /** All headers of a request must have come by then, counted from the connection or from the request's first byte. */
  headersMs: 10_000,
  headerBytes: 16 * KiB,
  /** Lines of headers. Bun's own server takes no more than 200. */
  headers: 100,
  /** Between requests a connection is kept for so long: longer than clients' own pools keep it (Deno 90 s), or they would send into its end. */
  idleMs: 120_000,
  /** Tasks that wait, as a multiple of those that run (one a core). */
  queueFactor: 2,
  /** A request's time may be this far from the node's. */
  clockSkewMs: 300_000,
  /** A nonce is remembered for longer than its time would be accepted. */
  nonceMs: 600_000,
  nonces: 2 ** 18,
  /** Refused signatures of one client within `failureMs`. */
  failures: 5,
  failureMs: 60_000,
  /** Clients whose failures are remembered. */
  clients: 4096,
  /** A whole request. */
  requestMs: 120_000,
  /** After `slowAfterMs` a body must have come at this rate, in bytes a second. */
  bodyRate: 64 * KiB,
  slowAfterMs: 10_000,
  redirects: 5,
} as const;

export type NodeLimits = { readonly [K in keyof typeof nodeLimits]: number };

/** Bytes before the data of a frame: descriptor, its length, and what aligns the data. */
export const frameOverhead = (limits: NodeLimits): number => limits.descriptorBytes + 64;

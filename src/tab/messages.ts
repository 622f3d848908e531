// Between the page and its threads.

/** To a thread: where to join, and as whom. */
export interface Start {
  readonly socket: string;
  readonly secret: string;
  readonly id: string;
}

/** From a thread. */
export type FromThread =
  | { readonly type: "state"; readonly state: "connecting" | "waiting" | "lost" }
  /** A task was done: bytes read and written, and milliseconds of work. */
  | { readonly type: "done"; readonly bytes: number; readonly ms: number }
  /** The node does not want it; nothing is tried again. */
  | { readonly type: "refused"; readonly message: string };

// What a node and a browser tab that works for it say to each other over a WebSocket. The short words are JSON texts, tasks and
// results are binary frames.

import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, hexToBytes, utf8ToBytes } from "@noble/hashes/utils.js";
import type { Receipt, Task } from "../kernel/program.ts";
import type { Range } from "./ranges.ts";
import type { AnswerMessage } from "./wire.ts";

/** Both sides must speak the same version. */
export const tabProtocol = "braid-tab-1";
export const tabRoutes = {
  page: "/worker",
  script: "/worker/page.js",
  thread: "/worker/thread.js",
  style: "/worker/page.css",
  socket: "/worker/socket",
} as const;

/** Tasks that one thread of a tab has: one that runs, and one whose bytes come meanwhile. */
export const tabDepth = 2;
/** Of a text. */
export const maxTextBytes = 1024;

/** To the tab. */
export type NodeText =
  /** Prove that you know the secret: its HMAC over this. */
  | { readonly type: "challenge"; readonly protocol: string; readonly kernel: string; readonly nonce: string }
  /** It passed the test merge, and gets tasks from now on. */
  | { readonly type: "welcome" }
  | { readonly type: "refused"; readonly message: string };

/** To the node: who joins. `id`: 32 hex digits, the same for all threads of a page. */
export interface JoinText {
  readonly type: "join";
  readonly id: string;
  readonly kernel: string;
  readonly proof: string;
}

export interface TabTask {
  readonly lease: number;
  readonly task: Task;
  readonly ranges: readonly Range[];
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export interface TabResult {
  readonly lease: number;
  readonly slice: AnswerMessage["slice"] | null;
  readonly receipt: Receipt | null;
  readonly output: Uint8Array<ArrayBuffer>;
  /** Why there is no result. */
  readonly fault: string | null;
}

/** `secret`: 64 hex digits. It never travels; whoever hears a proof cannot use it again. */
export const joinProof = (secret: string, nonce: string, id: string): string =>
  bytesToHex(hmac(sha256, hexToBytes(secret), utf8ToBytes([tabProtocol, "join", nonce, id].join("\n"))));

export const isHex = (value: unknown, digits: number): value is string =>
  typeof value === "string" && value.length === digits && /^[0-9a-f]+$/.test(value);

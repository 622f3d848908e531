// What may go wrong between a coordinator and eight nodes, from one seed.

import { join } from "node:path";
import type { Fetch } from "../../src/remote/client.ts";
import { realClock } from "../../src/remote/clock.ts";
import { routes } from "../../src/remote/wire.ts";
import { seeded } from "../support/seeded.ts";
import { testApp } from "./fixture.ts";
import { appFetch, mergeWithNodes, type NodesOutcome, now, placedApp } from "./nodes.ts";

export const chaosNodes = 8;
/** A second of the simulation is 5 ms. */
const rate = 200;

export const faults = [
  "drop",
  "hang",
  "truncate",
  "flip",
  "flip-request",
  "duplicate",
  "stale",
  "slow",
  "page",
  "busy",
] as const;
export type Fault = (typeof faults)[number];
/** How often each was done. */
export type Faults = Partial<Record<Fault | "death", number>>;

/** Spoils what is fetched, as the seed says; counts what it did. */
function chaos(seed: number, fetch: Fetch) {
  const random = seeded(seed);
  const clock = realClock(now, rate);
  const done: Faults = {};
  const count = (fault: Fault | "death") => {
    done[fault] = (done[fault] ?? 0) + 1;
  };
  const share = random() * 0.3;
  const dead = new Map<string, { after: number; until: number }>();
  const killed = 1 + Math.floor(random() * (chaosNodes - 1));
  for (let i = 0; i < killed; i++) {
    const after = Math.floor(random() * 30);
    // Some come back.
    dead.set(`node${i}`, { after, until: random() < 0.3 ? after + 5 : Number.POSITIVE_INFINITY });
  }
  const asked = new Map<string, number>();
  const old = new Map<string, { bytes: Uint8Array<ArrayBuffer>; headers: Headers }>();
  const flip = (bytes: Uint8Array) => {
    if (bytes.length > 0) bytes[Math.floor(random() * bytes.length)]! ^= 1 << Math.floor(random() * 8);
  };
  const spoilt: Fetch = async (url, init) => {
    const { hostname, pathname } = new URL(url);
    const n = (asked.get(hostname) ?? 0) + 1;
    asked.set(hostname, n);
    const death = dead.get(hostname);
    if (death && n > death.after && n <= death.until) {
      count("death");
      throw new Error("connection refused");
    }
    const fault = random() < share ? faults[Math.floor(random() * faults.length)]! : null;
    if (fault) count(fault);
    const forever = () =>
      new Promise<never>((_, reject) => {
        if (init.signal?.aborted) reject(new Error("aborted"));
        init.signal?.addEventListener("abort", () => reject(new Error("aborted")));
      });
    if (fault === "drop") throw new Error("connection reset");
    if (fault === "hang") return forever();
    if (fault === "page") return new Response("<html>Bad gateway</html>", { status: random() < 0.5 ? 200 : 502 });
    if (fault === "busy") return new Response("{}", { status: 503, headers: { "retry-after": "2" } });
    if (fault === "slow") await clock.wait(random() * 20_000, init.signal ?? undefined);
    const sent = init.body instanceof Uint8Array ? new Uint8Array(init.body) : null;
    if (sent && fault === "flip-request") flip(sent);
    const request = sent ? { ...init, body: sent } : init;
    if (fault === "duplicate") await fetch(url, request);
    const response = await fetch(url, request);
    const bytes = new Uint8Array(await response.arrayBuffer());
    const before = old.get(hostname);
    if (pathname !== routes.about && pathname !== routes.health)
      old.set(hostname, { bytes: bytes.slice(), headers: response.headers });
    if (fault === "stale" && before) return new Response(before.bytes, { status: 200, headers: before.headers });
    if (fault === "flip") flip(bytes);
    const body = fault === "truncate" ? bytes.slice(0, Math.floor(random() * bytes.length)) : bytes;
    return new Response(body, { status: response.status, headers: response.headers });
  };
  return { fetch: spoilt, done, clock, killed };
}

/** A merge in the chaos of a seed. Half of the runs have nodes that read and write the disk themselves beside those that are sent bytes. */
export async function mergeInChaos(
  seed: number,
  temp: string,
): Promise<{ outcome: NodesOutcome; done: Faults; killed: number }> {
  const apps = Array.from({ length: chaosNodes }, (_, i) =>
    seed % 2 === 1 && i % 2 === 0 ? placedApp(temp) : testApp(),
  );
  const { fetch, done, clock, killed } = chaos(seed, appFetch(apps));
  const outcome = await mergeWithNodes(join(temp, "out"), {
    nodes: chaosNodes,
    local: seed % 3 === 0,
    fetch,
    clock,
    random: seeded(seed),
  });
  return { outcome, done, killed };
}

// What may go wrong between a coordinator and eight nodes, from one seed: the bytes are the same every time. 25 seeds; with
// BRAID_CHAOS_SEEDS=500 as many as that.

import { beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { Fetch } from "../../src/remote/client.ts";
import { realClock } from "../../src/remote/clock.ts";
import { routes } from "../../src/remote/wire.ts";
import { withTempFolder } from "../support/host.ts";
import { testApp } from "./fixture.ts";
import { appFetch, mergeAlone, mergeWithNodes, now, placedApp, seeded } from "./nodes.ts";

const seeds = Number(process.env.BRAID_CHAOS_SEEDS ?? 25);
const firstSeed = Number(process.env.BRAID_CHAOS_FIRST ?? 1);
const nodes = 8;
/** A second of the simulation is 5 ms. */
const rate = 200;

let alone = "";
beforeAll(async () => {
  alone = await withTempFolder((temp) => mergeAlone(join(temp, "out")));
});

const faults = [
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
type Fault = (typeof faults)[number];

/** Spoils what is fetched, as the seed says; counts what it did. */
function chaos(seed: number, fetch: Fetch) {
  const random = seeded(seed);
  const clock = realClock(now, rate);
  const done: Partial<Record<Fault | "death", number>> = {};
  const count = (fault: Fault | "death") => {
    done[fault] = (done[fault] ?? 0) + 1;
  };
  const share = random() * 0.3;
  const dead = new Map<string, { after: number; until: number }>();
  const killed = 1 + Math.floor(random() * (nodes - 1));
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
  return { fetch: spoilt, done, clock };
}

describe("chaos", () => {
  const all: Partial<Record<Fault | "death", number>> = {};
  for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
    test(`of seed ${seed} changes no byte`, () =>
      withTempFolder(async (temp) => {
        // Half of the runs have nodes that read and write the disk themselves beside those that are sent bytes.
        const apps = Array.from({ length: nodes }, (_, i) =>
          seed % 2 === 1 && i % 2 === 0 ? placedApp(temp) : testApp(),
        );
        const { fetch, done, clock } = chaos(seed, appFetch(apps));
        const outcome = await mergeWithNodes(join(temp, "out"), {
          nodes,
          local: seed % 3 === 0,
          fetch,
          clock,
          random: seeded(seed),
        });
        for (const [fault, n] of Object.entries(done)) all[fault as Fault] = (all[fault as Fault] ?? 0) + n;
        expect({ seed, sha256: outcome.sha256 }).toEqual({ seed, sha256: alone });
        // Chaos is not lying: nobody is accused.
        expect(outcome.reports.filter((r) => r.state === "banned")).toEqual([]);
      }));
  }

  test("had every fault in it", () => {
    expect(Object.keys(all).sort()).toEqual([...faults, "death"].sort());
  });
});

// The page's side of the worker that hashes: it is asked, answers, fails, or falls silent.

import { describe, expect, test } from "bun:test";
import type { FromHasher, ToHasher } from "../../src/web/hash-worker.ts";
import { createHasher } from "../../src/web/hashing.ts";

const sha256 = "ab".repeat(32);
const silence = 40;

/** A worker that does with a message what the test says; `say` is how it answers. */
class StandIn {
  onmessage: ((event: { data: FromHasher }) => void) | null = null;
  onerror: ((event: { message: string }) => void) | null = null;
  readonly told: ToHasher[] = [];
  ended = false;
  private readonly does: (message: ToHasher, say: (message: FromHasher) => void) => void;

  constructor(does: StandIn["does"]) {
    this.does = does;
  }

  postMessage(message: ToHasher): void {
    this.told.push(message);
    queueMicrotask(() => this.does(message, (data) => !this.ended && this.onmessage?.({ data })));
  }

  terminate(): void {
    this.ended = true;
  }
}

/** A hasher whose workers do one thing each, in turn, and the workers that it has started. */
function hasherOf(...does: StandIn["does"][]) {
  const workers: StandIn[] = [];
  const hasher = createHasher(() => {
    const worker = new StandIn(does[workers.length]!);
    workers.push(worker);
    return worker as unknown as Worker;
  }, silence);
  return { hasher, workers };
}

const answers: StandIn["does"] = ({ type, path }, say) => {
  if (type === "finish") say({ type: "digest", path, sha256 });
};
const isSilent: StandIn["does"] = () => {};
const signal = new AbortController().signal;

describe("the hash of an output", () => {
  test("comes from one worker, which is told as the file grows", async () => {
    const { hasher, workers } = hasherOf(answers);
    const hash = hasher.hashFile("a", null, true);
    for (const end of [1 << 20, 5 << 20, 6 << 20, 9 << 20]) hash.advance(end);
    expect(await hash.finish(signal)).toBe(sha256);
    expect(workers.map((worker) => worker.told)).toEqual([
      [
        { type: "advance", path: "a", end: 5 << 20 },
        { type: "advance", path: "a", end: 9 << 20 },
        { type: "finish", path: "a", file: null, again: false },
      ],
    ]);
  });

  test("is asked of another worker when the first one falls silent, which is ended", async () => {
    const { hasher, workers } = hasherOf(isSilent, answers);
    expect(await hasher.hashFile("a", null, false).finish(signal)).toBe(sha256);
    expect(workers.map((worker) => worker.ended)).toEqual([true, false]);
    expect(workers[1]!.told).toEqual([{ type: "finish", path: "a", file: null, again: true }]);
  });

  test("is waited for as long as there are signs of it", async () => {
    const { hasher, workers } = hasherOf(({ path }, say) => {
      for (let i = 1; i <= 6; i++) setTimeout(() => say({ type: "beat", path }), (i * silence) / 2);
      setTimeout(() => say({ type: "digest", path, sha256 }), 3.4 * silence);
    });
    expect(await hasher.hashFile("a", null, false).finish(signal)).toBe(sha256);
    expect(workers.length).toBe(1);
  });

  test("fails when three workers are silent, or one says why", async () => {
    const silent = hasherOf(isSilent, isSilent, isSilent);
    await expect(silent.hasher.hashFile("a", null, false).finish(signal)).rejects.toThrow(
      "no sign of it for 0.04 s, 3 times",
    );
    expect(silent.workers.map((worker) => worker.ended)).toEqual([true, true, true]);
    const failing = hasherOf(({ path }, say) => say({ type: "failed", path, message: "the file ends at 7" }));
    await expect(failing.hasher.hashFile("a", null, false).finish(signal)).rejects.toThrow("the file ends at 7");
  });

  test("is not waited for once the merge is stopped", async () => {
    const { hasher } = hasherOf(isSilent, isSilent, isSilent);
    const controller = new AbortController();
    const finished = hasher.hashFile("a", null, false).finish(controller.signal);
    setTimeout(() => controller.abort(new Error("stopped")), 5);
    await expect(finished).rejects.toThrow("stopped");
  });
});

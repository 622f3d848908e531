import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { ProgressiveHash } from "../src/cli/file-hash.ts";
import type { MergeTask } from "../src/kernel/program.ts";
import { prepare } from "../src/prepare.ts";
import { Written } from "../src/written.ts";
import { requestFor, testHost, withTempFolder } from "./support/host.ts";

describe("how far a file is complete", () => {
  test("is told by the slices that are done, in any order", async () => {
    const recipe =
      "merge_method: linear\nmodels: [{model: examples/models/base}, {model: examples/models/ft-add}]\ndtype: float32";
    const { plan } = await prepare(requestFor(recipe, { outShardBytes: 1_000_000 }), testHost());
    const tasks: MergeTask[] = plan.tensors.flatMap((t) => {
      const list: MergeTask[] = [];
      for (let first = 0; first < t.count; first += 4096) {
        const output = { file: plan.inputFiles.length + t.output.file, start: t.output.start };
        const count = Math.min(4096, t.count - first);
        list.push({ kind: "merge", id: 0, first, count, inputs: [], output, program: t.program, policy: plan.policy });
      }
      return list;
    });
    // A fixed shuffle: every 7th, then the ones behind.
    const order = Array.from({ length: 7 }, (_, r) => tasks.filter((_, i) => i % 7 === r)).flat();
    const written = new Written(plan);
    const marks = plan.outputs.map(() => 0);
    for (const task of order) {
      const at = written.add(task)!;
      expect(at.mark).toBeGreaterThanOrEqual(marks[at.file]!);
      marks[at.file] = at.mark;
    }
    expect(marks).toEqual(plan.outputs.map((f) => f.byteLength));
  });
});

describe("a hash of a file that is still being written", () => {
  test("is that of the finished file, however it grew", () =>
    withTempFolder(async (temp) => {
      const path = join(temp, "f");
      const bytes = new Uint8Array(3_000_001).map((_, i) => (i * 2654435761) >>> 24);
      const fd = openSync(path, "w");
      ftruncateSync(fd, bytes.length);
      const hash = new ProgressiveHash(path);
      let at = 0;
      for (const step of [1, 255 * 1024, 300_000, 1, 1_500_000, 10]) {
        writeSync(fd, bytes, at, step, at);
        at += step;
        hash.advance(at);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      writeSync(fd, bytes, at, bytes.length - at, at);
      closeSync(fd);
      expect(await hash.finish(new AbortController().signal)).toBe(createHash("sha256").update(bytes).digest("hex"));
    }));
  test("stops when it is told to", () =>
    withTempFolder(async (temp) => {
      const path = join(temp, "f");
      const fd = openSync(path, "w");
      ftruncateSync(fd, 100_000_000);
      closeSync(fd);
      const stop = new AbortController();
      const digest = new ProgressiveHash(path).finish(stop.signal);
      stop.abort(new Error("enough"));
      await expect(digest).rejects.toThrow("enough");
    }));
});

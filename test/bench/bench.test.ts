// What `braid bench` measures with: made-up models, passes over them, and the estimate. No figure of speed is asserted.

import { describe, expect, test } from "bun:test";
import { benchDtypes, benchMethods, prepareCase } from "../../src/bench/cases.ts";
import { estimate } from "../../src/bench/estimate.ts";
import { noiseFiles, noiseOpener, noisePath } from "../../src/bench/noise.ts";
import { jobOf, median, runPass } from "../../src/bench/run.ts";
import type { ByteSource } from "../../src/bytes/source.ts";
import { parseParameters } from "../../src/cli/options.ts";
import { createInlineExecutor } from "../../src/exec/inline.ts";
import { compileKernel } from "../../src/kernel/kernel.ts";
import { parseHeader } from "../../src/tensor/header.ts";
import { testHost } from "../support/host.ts";

const module = compileKernel();
const never = new AbortController().signal;
const count = 100_000;

async function bytesOf(dtype: (typeof benchDtypes)[number], model: number): Promise<Uint8Array> {
  const source = (await noiseOpener.source(noisePath({ dtype, model, count }))) as ByteSource;
  const bytes = new Uint8Array(source.byteLength);
  // In odd pieces: a read may begin in the header and cross the period.
  for (let at = 0; at < bytes.length; at += 70_001) await source.read(at, bytes.subarray(at, at + 70_001));
  return bytes;
}

describe("noise models", () => {
  test("are checkpoints with a header and finite weights near to their base's", async () => {
    for (const dtype of benchDtypes) {
      const path = noisePath({ dtype, model: 1, count });
      expect(noiseFiles.kind(path)).toBe("folder");
      const source = await noiseFiles.folder(path).open("model.safetensors");
      const header = await parseHeader(source, {});
      const tensor = [...header.tensors.values()][0]!;
      expect([tensor.name, tensor.dtype, ...tensor.shape]).toEqual(["weight", dtype, count]);
      expect(tensor.end).toBe(source.byteLength);
      const value = (bytes: Uint8Array, i: number) => {
        const view = new DataView(bytes.buffer, bytes.byteOffset + tensor.start);
        if (dtype === "F32") return view.getFloat32(i * 4, true);
        const half = view.getUint16(i * 2, true);
        if (dtype === "BF16") {
          const wide = new DataView(new ArrayBuffer(4));
          wide.setUint16(0, half);
          return wide.getFloat32(0);
        }
        const exponent = (half >> 10) & 31;
        return exponent === 0 ? 0 : (half & 0x8000 ? -1 : 1) * (1 + (half & 1023) / 1024) * 2 ** (exponent - 15);
      };
      const [base, tuned] = [await bytesOf(dtype, 0), await bytesOf(dtype, 1)];
      let [moved, size] = [0, 0];
      for (let i = 0; i < count; i++) {
        expect(Math.abs(value(base, i))).toBeLessThan(0.07);
        moved += Math.abs(value(tuned, i) - value(base, i));
        size += Math.abs(value(base, i));
      }
      expect(moved / size).toBeGreaterThan(0.05);
      expect(moved / size).toBeLessThan(0.2);
      expect(size / count).toBeGreaterThan(0.01);
    }
  });
});

describe("a pass", () => {
  test.each(benchMethods.map((m) => [m]))(
    "of %s covers every parameter, in each dtype and number of models",
    async (method) => {
      for (const dtype of benchDtypes) {
        for (const models of [1, 8]) {
          const elements = 300_032;
          const prepared = await prepareCase({ method, dtype, models, elements }, 2, testHost());
          const job = jobOf([prepared], true);
          const executor = createInlineExecutor({ module, job, now: () => performance.now(), opener: noiseOpener });
          const pass = await runPass(prepared, job, executor, never);
          await executor.close();
          const width = dtype === "F32" ? 4 : 2;
          const inputs = method === "slerp" ? 2 : method === "linear" ? models : models + 1;
          expect(pass.bytesWrittenPerParameter).toBe(width);
          // SLERP reads twice; TIES at least that, and a sample.
          const passes = pass.bytesReadPerParameter / (inputs * width);
          if (method === "ties") expect(passes).toBeGreaterThan(2);
          else expect(passes).toBe(method === "slerp" ? 2 : 1);
          expect(pass.nsPerParameter).toBeGreaterThan(0);
          expect((pass.phases.mask ?? 0) > 0).toBe(method.startsWith("dare"));
          expect((pass.phases.survey ?? 0) > 0).toBe(method === "ties" || method === "slerp");
        }
      }
    },
  );

  test("is told from others that share a job", async () => {
    const what = { dtype: "BF16", models: 2, elements: 20_480 } as const;
    const linear = await prepareCase({ ...what, method: "linear" }, 1, testHost());
    const dare = await prepareCase({ ...what, method: "dare_ties" }, 1, testHost());
    const job = jobOf([linear, dare]);
    expect(job.files.map((f) => f.mode)).toEqual(["read", "read", "read", "write"]);
    const executor = createInlineExecutor({ module, job, now: () => performance.now(), opener: noiseOpener });
    expect((await runPass(linear, job, executor, never)).bytesReadPerParameter).toBe(4);
    expect((await runPass(dare, job, executor, never)).bytesReadPerParameter).toBe(6);
    await executor.close();
  });
});

describe("an estimate", () => {
  const work = { nsPerParameter: 8, bytesReadPerParameter: 8, bytesWrittenPerParameter: 2 };
  const rates = { copy: 10e9, sha256: 1e9, read: 1e9, write: 0.5e9 };

  test("is the slowest of processor, disk and hash", () => {
    // 1e9 parameters on two workers: (8 + 1) / 2 s, 8 + 4 s, 2 s.
    expect(estimate(1e9, work, rates, 2)).toEqual({ seconds: 12, limit: "disk", processor: 4.5, disk: 12, hash: 2 });
    const fast = { ...rates, read: 100e9, write: 100e9 };
    expect(estimate(1e9, work, fast, 2)).toMatchObject({ seconds: 4.5, limit: "processor" });
    expect(estimate(1e9, work, { ...fast, sha256: 0.1e9 }, 2)).toMatchObject({ seconds: 20, limit: "hash" });
  });

  test("without a disk says nothing of it", () => {
    const none = estimate(1e9, work, { ...rates, read: null, write: null }, 2);
    expect(none).toMatchObject({ seconds: 4.5, limit: "processor", disk: null });
  });

  test("takes parameters as model names count them", () => {
    expect(["7B", "350M", "1.5b", "12k", "7000000000", " 2t "].map(parseParameters)).toEqual([
      7e9, 350e6, 1.5e9, 12e3, 7e9, 2e12,
    ]);
    expect(["", "0", "-7B", "7 BB", "B", "1e9", "9999999T"].map(parseParameters)).toEqual(Array(7).fill(null));
  });

  test("medians do not depend on order", () => {
    expect([median([3, 1, 2]), median([4, 1, 3, 2]), median([5])]).toEqual([2, 2.5, 5]);
  });
});

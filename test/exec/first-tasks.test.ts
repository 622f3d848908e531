// An executor may ask for small tasks at the start of a job: where slices are cut changes no byte.

import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Executor } from "../../src/exec/executor.ts";
import { merge } from "../../src/merge.ts";
import { requestFor, testHost, withTempFolder } from "../support/host.ts";
import { writeModel } from "../support/models.ts";
import { seeded } from "../support/seeded.ts";

const count = 700_001;
const slice = 524_288;

async function run(temp: string, firstTasks: number): Promise<{ sizes: number[]; sha256: string }> {
  const sizes: number[] = [];
  const base = testHost();
  const host = {
    ...base,
    createExecutor: async (...all: Parameters<typeof base.createExecutor>): Promise<Executor> => {
      const inner = await base.createExecutor(...all);
      return {
        capacity: 1,
        firstTasks,
        run(task, ...rest) {
          sizes.push(task.count);
          return inner.run(task, ...rest);
        },
        close: () => inner.close(),
      };
    },
  };
  const models = [0, 1].map((m) => `{ model: ${temp}/m${m}, parameters: { weight: 1 } }`);
  const recipe = `{ merge_method: linear, models: [${models.join(", ")}], dtype: bfloat16 }`;
  await merge(requestFor(recipe, { sliceElements: slice }), join(temp, "out"), { overwrite: true }, host);
  const sha256 = createHash("sha256")
    .update(readFileSync(join(temp, "out/model.safetensors")))
    .digest("hex");
  return { sizes, sha256 };
}

test("the first tasks are an eighth of the others where they are asked for", () =>
  withTempFolder(async (temp) => {
    const draw = seeded(3);
    for (const m of [0, 1]) {
      const data = Array.from({ length: count }, () => Math.floor(draw() * 200) / 128);
      writeModel(join(temp, `m${m}`), { a: { dtype: "BF16", data }, b: { dtype: "BF16", data: data.slice(0, 5000) } });
    }
    const [plain, small] = [await run(temp, 0), await run(temp, 3)];
    expect(plain.sizes).toEqual([slice, count - slice, 5000]);
    expect(small.sizes).toEqual([65_536, 65_536, 65_536, count - 3 * 65_536, 5000]);
    expect(small.sha256).toBe(plain.sha256);
  }));

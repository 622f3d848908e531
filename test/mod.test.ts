import { expect, test } from "bun:test";
import { join } from "node:path";
import * as braid from "../src/mod.ts";
import { requestFor, testHost, withTempFolder } from "./support/host.ts";
import { writeModel } from "./support/models.ts";
import { readCheckpoint } from "./support/tensors.ts";

test("the library merges with nothing but a host", () =>
  withTempFolder(async (temp) => {
    const a = writeModel(join(temp, "a"), { w: { data: [1, 3] } });
    const b = writeModel(join(temp, "b"), { w: { data: [3, 5] } });
    const request = { ...requestFor(`merge_method: linear\nmodels: [{model: ${a}}, {model: ${b}}]`), workers: 1 };
    const summary = await braid.merge(request, join(temp, "out"), { overwrite: false }, testHost());
    expect([...readCheckpoint(join(temp, "out")).get("w")!.values]).toEqual([2, 4]);
    expect(summary.files[0]!.sha256).toMatch(/^[0-9a-f]{64}$/);
    await expect(braid.merge(request, join(temp, "out"), { overwrite: false }, testHost())).rejects.toBeInstanceOf(
      braid.BraidError,
    );
  }));

test("every method of the table has a title, a paper and parameters that explain themselves", () => {
  for (const method of braid.methods.values()) {
    expect(method.title.length).toBeGreaterThan(2);
    expect(method.paper).toMatch(/^https:/);
    for (const p of method.parameters) expect(p.describe).toMatch(/\.$/);
  }
});

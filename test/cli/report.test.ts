// `braid report` and `braid merge --report`, started as a user would.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readCheckpoint } from "../support/tensors.ts";
import { denoProgram, root, start } from "./braid.ts";

const folder = mkdtempSync(join(tmpdir(), "braid-report-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const inputs = join(folder, "recipes");
const braid = (...args: string[]) => start(args, { cwd: folder });
const read = (name: string) => readFileSync(join(folder, name), "utf8");

beforeAll(async () => {
  cpSync(join(root, "examples/models"), join(inputs, "models"), { recursive: true });
  cpSync(join(root, "examples/dare-ties.yml"), join(inputs, "dare-ties.yml"));
  const { exit } = await braid("merge", "recipes/dare-ties.yml", "out", "--report", "--workers", "1");
  expect(exit).toBe(0);
});

describe("merge --report", () => {
  test("writes the page beside the output, with the times of the merge, and nothing into the output", () => {
    const page = read("out.report.html");
    expect(page).toContain("<h1><bdi>out</bdi></h1>");
    expect(page).toMatch(/<dt>In all<\/dt><dd>[\d.]+ s<\/dd>/);
    expect(readdirSync(join(folder, "out")).filter((name) => name.includes("report"))).toEqual([]);
  });

  test("takes a file that ends in .html, and does not overwrite one unasked", async () => {
    const again = await braid("merge", "recipes/dare-ties.yml", "other", "--report");
    expect(again.exit).toBe(0);
    expect(existsSync(join(folder, "other.report.html"))).toBe(true);
    rmSync(join(folder, "other"), { recursive: true });
    const refused = await braid("merge", "recipes/dare-ties.yml", "other", "--report", "other.report.html");
    expect(refused.exit).toBe(73);
    expect(refused.err).toContain("Cannot write the report");
    expect(existsSync(join(folder, "other"))).toBe(false);
  });
});

describe("report", () => {
  test("gives the same bytes again, under Bun and Deno, with rates, hashes and what rounding took back", async () => {
    const first = await braid("report", "out", "a.html", "--inputs", "recipes", "--json");
    expect(first.exit).toBe(0);
    const said = JSON.parse(first.out);
    expect(said).toMatchObject({ report: join(folder, "a.html"), warnings: [] });
    expect(said.missing.map((m: { section: string }) => m.section)).toEqual(["times"]);
    const second = await start(["report", "out", "b.html", "--inputs", "recipes"], {
      cwd: folder,
      program: denoProgram,
    });
    expect(second.exit).toBe(0);
    expect(read("a.html")).toBe(read("b.html"));
    const manifest = JSON.parse(read("out/braid.json"));
    expect(read("a.html")).toContain(manifest.files[0].sha256);
    expect(read("a.html")).toContain("89.9748 %");
    expect(read("a.html")).toMatch(/Of 763,008 elements the merge changed [\d,]+/);
  });

  test("shows the deltas that the files hold", () => {
    // From the bytes of the files, by a reader and arithmetic of this test's own.
    const [base, add, out] = ["recipes/models/base", "recipes/models/ft-add", "out"].map((name) =>
      readCheckpoint(join(folder, name)),
    );
    const deltas = (model: typeof base, names: string[]) =>
      names.flatMap((name) => [...model!.get(name)!.values].map((x, i) => x - base!.get(name)!.values[i]!));
    const norm = (list: readonly number[]) => Math.sqrt(list.reduce((sum, x) => sum + x * x, 0));
    const page = read("a.html");
    const q = "model.layers.3.self_attn.q_proj.weight";
    const ratio = norm(deltas(add, [q])) / norm([...base!.get(q)!.values]);
    expect(page).toContain(`<title>attention q, 3: ${Number(ratio.toPrecision(3))}</title>`);
    const names = [...base!.keys()];
    const [mine, merged] = [deltas(add, names), deltas(out, names)];
    const cosine = mine.reduce((sum, x, i) => sum + x * merged[i]!, 0) / norm(mine) / norm(merged);
    expect(page).toContain(`<title>models/ft-add, output: ${cosine.toFixed(2)}</title>`);
    const unchanged = (merged.filter((x) => x === 0).length / merged.length) * 100;
    expect(page).toMatch(
      new RegExp(
        `output</bdi></th><td class="number">763,008</td><td class="number">${Number(unchanged.toPrecision(3))} %`,
      ),
    );
    const changed = merged.filter((x) => x !== 0).length;
    // Nothing is lost here (the deltas are rescaled by 10), so that what is changed in the file is what was changed before.
    expect(page).toContain(`the merge changed ${String(changed).replace(/\B(?=(\d{3})+$)/g, ",")} (`);
  });

  test("takes times from what merge --json printed", async () => {
    const merged = await braid("merge", "recipes/dare-ties.yml", "timed", "--json", "--workers", "1");
    writeFileSync(join(folder, "summary.json"), merged.out);
    const { exit, out } = await braid(
      "report",
      "timed",
      "-",
      "--inputs",
      "recipes",
      "--no-deltas",
      "--summary",
      "summary.json",
    );
    expect(exit).toBe(0);
    expect(out).toMatch(/<dt>In all<\/dt><dd>[\d.]+ s<\/dd>/);
    expect(out).toContain("The tensors were not read (--no-deltas).");
    writeFileSync(join(folder, "summary.json"), merged.out.replace(/"planSha256": "./, '"planSha256": "x'));
    const other = await braid("report", "timed", "-", "--no-deltas", "--summary", "summary.json");
    expect(other.out).toContain("The summary is that of another merge");
  });

  test("says what is missing when the inputs are gone, and writes the rest", async () => {
    const { exit, out } = await braid("report", "out", "gone.html");
    expect(exit).toBe(0);
    expect(out).toContain("without deltas: This section needs the inputs as they were merged");
    expect(out).toContain("--inputs");
    expect(read("gone.html")).toContain("Cannot find the model &quot;models/ft-add&quot;");
    expect(read("gone.html")).toContain("89.9748 %");
  });

  test("notices inputs that are not what was merged", async () => {
    const model = join(inputs, "models/ft-rev");
    renameSync(model, `${model}.away`);
    cpSync(join(root, "examples/models/ft-add"), model, { recursive: true });
    writeFileSync(
      join(model, "model.safetensors"),
      readFileSync(join(root, "test/golden/inputs/tiny-a/model.safetensors")),
    );
    try {
      const { exit, out } = await braid("report", "out", "-", "--inputs", "recipes");
      expect(exit).toBe(0);
      expect(out).toContain("This section needs the inputs as they were merged. ");
      expect(out).toContain("89.9748 %");
    } finally {
      rmSync(model, { recursive: true });
      renameSync(`${model}.away`, model);
    }
  });

  const wrong: [string, () => string[], number, RegExp][] = [
    ["a folder that is no output", () => ["report", "recipes/models/base"], 65, /it has no braid\.json/],
    ["a file", () => ["report", "out/braid.json"], 66, /it is a file, expected the folder of a merge/],
    ["nothing", () => ["report", "nowhere"], 66, /there is no such folder/],
    ["a report that is there", () => ["report", "out"], 73, /it exists/],
    ["a summary that is none", () => ["report", "out", "-", "--summary", "out/config.json"], 2, /it has no times/],
    ["no OUT", () => ["report"], 2, /Missing OUT/],
    ["two documents on one output", () => ["report", "out", "-", "--json"], 2, /at once/],
  ];
  test.each(wrong)("refuses %s, and writes nothing", async (_, args, code, message) => {
    const before = readdirSync(folder).sort();
    const { exit, err } = await braid(...args());
    expect(exit).toBe(code);
    expect(err).toMatch(message);
    expect(readdirSync(folder).sort()).toEqual(before);
  });

  test("refuses an output whose files were changed", async () => {
    cpSync(join(folder, "out"), join(folder, "cut"), { recursive: true });
    const manifest = JSON.parse(read("out/braid.json"));
    manifest.files[0].byteLength += 8;
    writeFileSync(join(folder, "cut/braid.json"), JSON.stringify(manifest));
    const { exit, err } = await braid("report", "cut", "cut.html");
    expect(exit).toBe(65);
    expect(err).toContain("should have 1530232 bytes, it has 1530224 bytes");
    expect(existsSync(join(folder, "cut.html"))).toBe(false);
  });
});

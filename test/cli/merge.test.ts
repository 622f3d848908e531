// merge, plan and check from the outside: streams, documents, exit codes, signals, both runtimes.

import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bunProgram, denoProgram, inFolder, root, start } from "./braid.ts";

const recipe = join(root, "examples/dare-ties.yml");
const haveDeno = existsSync(denoProgram[0]!);
const sha256 = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");

describe("merge", () => {
  test("ends with a summary on standard output and nothing on standard error", () =>
    inFolder(async (folder) => {
      const out = join(folder, "out");
      const { exit, out: text, err } = await start(["merge", recipe, out]);
      expect(err).toBe("");
      expect(exit).toBe(0);
      for (const part of [
        "dare_ties of 3 models",
        "base     models/base",
        "Merged 39 tensors (763,008 parameters)",
        "ns/parameter",
        "of 90 % asked  models/ft-add",
        "at the peak",
        `Next: bun `,
      ]) {
        expect(text).toContain(part);
      }
      expect(text).toContain(sha256(join(out, "model.safetensors")));
      expect(text).not.toContain("\u001b");
      expect(text).not.toContain("\r");
      expect(readdirSync(folder)).toEqual(["out"]);
    }));

  test("--json is one document, and --quiet is silent", () =>
    inFolder(async (folder) => {
      const { exit, out, err } = await start(["merge", recipe, "o", "--json"], { cwd: folder });
      expect([exit, err]).toEqual([0, ""]);
      const summary = JSON.parse(out);
      expect(summary).toMatchObject({ out: "o", method: "dare_ties", tensors: 39, parameters: 763008 });
      expect(summary.files[0].sha256).toBe(sha256(join(folder, "o/model.safetensors")));
      expect(summary.dropRates.length).toBe(3);
      for (const { asked, actual } of summary.dropRates) {
        expect(asked).toBeCloseTo(0.9, 6);
        expect(actual).toBeCloseTo(0.9, 2);
      }
      const quiet = await start(["merge", recipe, "o", "--overwrite", "--quiet"], { cwd: folder });
      expect(quiet).toEqual({ exit: 0, out: "", err: "" });
    }));

  test("--no-checksum and --no-sync leave the tensors as they are, and the hashes out", () =>
    inFolder(async (folder) => {
      const plain = await start(["merge", recipe, "plain", "--json"], { cwd: folder });
      const bare = await start(["merge", recipe, "bare", "--json", "--no-checksum", "--no-sync"], { cwd: folder });
      expect([plain.exit, bare.exit, bare.err]).toEqual([0, 0, ""]);
      const hash = JSON.parse(plain.out).files[0].sha256;
      expect(sha256(join(folder, "bare/model.safetensors"))).toBe(hash);
      const { files } = JSON.parse(bare.out);
      expect(files.map((f: { sha256: string | null }) => f.sha256)).toEqual([null]);
      const read = (path: string) => readFileSync(join(folder, path), "utf8");
      expect(JSON.parse(read("bare/braid.json")).files).toEqual(files);
      expect(read("plain/README.md")).toContain("braid.json has their hashes");
      expect(read("bare/README.md")).toContain("give the same bytes.");
      const text = await start(["merge", recipe, "bare", "--overwrite", "--no-checksum"], { cwd: folder });
      expect(text.out).toMatch(/^ {2}files +model\.safetensors {2}/m);
    }));

  test("an output that exists is left alone without --overwrite", () =>
    inFolder(async (folder) => {
      writeFileSync(join(folder, "out"), "mine");
      const { exit, err } = await start(["merge", recipe, join(folder, "out")]);
      expect(exit).toBe(73);
      expect(err).toContain("error: ");
      expect(readFileSync(join(folder, "out"), "utf8")).toBe("mine");
    }));

  test("what mergekit-yaml takes is taken, and says when it is not needed", () =>
    inFolder(async (folder) => {
      const options = [
        "--cuda",
        "--lazy-unpickle",
        "--allow-crimes",
        "--no-copy-tokenizer",
        "--out-shard-size",
        "5B",
        "--random-seed",
        "42",
        "-v",
      ];
      const { exit, err } = await start(["merge", recipe, join(folder, "out"), ...options]);
      expect(exit).toBe(0);
      expect(
        err
          .split("\n")
          .filter(Boolean)
          .map((line) => line.split(" is not needed: ")[0]),
      ).toEqual(["note: --cuda", "note: --lazy-unpickle", "note: --allow-crimes"]);
      expect(existsSync(join(folder, "out/tokenizer.json"))).toBe(false);
    }));

  test("a recipe comes from standard input, its paths from the working directory", () =>
    inFolder(async (folder) => {
      const { exit } = await start(["merge", "-", join(folder, "out")], {
        stdin: readFileSync(recipe, "utf8"),
        cwd: join(root, "examples"),
      });
      expect(exit).toBe(0);
    }));

  test.skipIf(!haveDeno)("Deno makes the same bytes, with the permissions that are documented", () =>
    inFolder(async (folder) => {
      const narrow = ["--allow-read", `--allow-write=${folder}`, "--allow-env=LOG_TOKENS,LOG_STREAM"];
      const program = [denoProgram[0]!, "run", "--no-prompt", ...narrow, join(root, "src/cli/main.ts")];
      const deno = await start(["merge", recipe, join(folder, "deno")], { program });
      expect([deno.exit, deno.err]).toEqual([0, ""]);
      await start(["merge", recipe, join(folder, "bun"), "--workers", "1"]);
      expect(sha256(join(folder, "deno/model.safetensors"))).toBe(sha256(join(folder, "bun/model.safetensors")));
    }),
  );

  test.skipIf(!haveDeno)("a permission that Deno was not given is named", async () => {
    const program = [denoProgram[0]!, "run", "--no-prompt", join(root, "src/cli/main.ts")];
    const { exit, err } = await start(["check", recipe], { program });
    expect(exit).toBe(77);
    expect(err).toContain("--allow-read");
    expect(err).not.toContain("bug");
  });
});

/** Two checkpoints of 1 GiB that take no room: holes in a file read as zeros. */
function writeLargeModels(folder: string): string {
  const bytes = 2 ** 30;
  const header = JSON.stringify({ w: { dtype: "F32", shape: [bytes / 4], data_offsets: [0, bytes] } });
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  for (const name of ["a", "b"]) {
    mkdirSync(join(folder, name));
    const path = join(folder, name, "model.safetensors");
    writeFileSync(path, Buffer.concat([length, Buffer.from(header)]));
    truncateSync(path, 8 + header.length + bytes);
    writeFileSync(join(folder, name, "config.json"), "{}");
  }
  const model = (name: string) => `  - { model: ${name}, parameters: { weight: 1 } }\n`;
  writeFileSync(join(folder, "recipe.yml"), `merge_method: linear\nmodels:\n${model("a")}${model("b")}`);
  return join(folder, "recipe.yml");
}

const programs = [["bun", bunProgram] as const, ...(haveDeno ? [["deno", denoProgram] as const] : [])];

describe("signals", () => {
  test.each(
    programs.flatMap(([name, program]) => [
      [name, "SIGINT", 130, program] as const,
      [name, "SIGTERM", 143, program] as const,
    ]),
  )("%s: a merge that gets %s leaves nothing and ends with %d in two seconds", (_, name, exit, program) =>
    inFolder(async (folder) => {
      const recipe = writeLargeModels(folder);
      const before = readdirSync(folder);
      const started = Date.now();
      const signal = { name, after: "workers", ms: 100 };
      const outcome = await start(["merge", recipe, "out"], { program, cwd: folder, signal });
      expect(outcome.exit).toBe(exit);
      expect(outcome.err).toContain(`Stopped by ${name}`);
      expect(Date.now() - started).toBeLessThan(6000);
      expect(readdirSync(folder)).toEqual(before);
    }),
  );

  test("waiting for standard input is no reason to wait", async () => {
    const { exit } = await start(["check", "-"], { stdin: null, signal: { name: "SIGINT", after: "", ms: 1000 } });
    expect(exit).toBe(130);
  });
});

describe("plan", () => {
  test("shows inputs, outputs, memory and tensors", async () => {
    const { exit, out, err } = await start(["plan", recipe]);
    expect([exit, err]).toEqual([0, ""]);
    for (const part of [
      "dare_ties, seed 42",
      "Inputs",
      "Outputs",
      "Tensors",
      "(drop 90 %)",
      "elect(",
      "… and 19 more (--all shows them)",
    ])
      expect(out).toContain(part);
    expect((await start(["plan", recipe, "--all"])).out).toContain("model.norm.weight");
  });

  test("--json is the plan", async () => {
    const plan = JSON.parse((await start(["plan", recipe, "--json", "--seed", "7"])).out);
    expect(plan).toMatchObject({ format: "braid-plan-1", method: "dare_ties", seed: "7", parameters: 763008 });
    expect(plan.tensors.length).toBe(39);
  });
});

describe("check", () => {
  test("of a good recipe is all ok", async () => {
    const { exit, out } = await start(["check", recipe]);
    expect(exit).toBe(0);
    expect(out).toContain("ok     tensors: all 39 fit together");
    expect(out).toEndWith("0 errors, 0 warnings\n");
  });

  test("finds every mistake at once, with line and column", async () => {
    const stdin = "merge_method: dare_ties\nbase_modell: a\nmodels:\n  - model: b\n    parameters: { weigth: 1 }\n";
    const { exit, out } = await start(["check", "-"], { stdin });
    expect(exit).toBe(2);
    expect(out).toContain("<stdin>:2:1:");
    expect(out).toContain("<stdin>:5:");
    const document = JSON.parse((await start(["check", "-", "--json"], { stdin })).out);
    expect(document.exitCode).toBe(2);
    expect(document.errors).toBeGreaterThanOrEqual(2);
    const places = document.findings.map(
      (finding: { diagnostic: { where: { line: number } } }) => finding.diagnostic.where.line,
    );
    expect(places).toContain(2);
    expect(places).toContain(5);
  });

  test("exit codes follow the first error", () =>
    inFolder(async (folder) => {
      const linear = (model: string) =>
        `merge_method: linear\nmodels:\n  - { model: ${model}, parameters: { weight: 1 } }\n  - { model: ${join(root, "examples/models/base")}, parameters: { weight: 1 } }\n`;
      expect((await start(["check", join(folder, "none.yml")])).exit).toBe(66);
      expect((await start(["check", "-"], { stdin: linear("nowhere") })).exit).toBe(66);
      expect((await start(["check", "-"], { stdin: linear(join(root, "examples/models/tied-add")) })).exit).toBe(65);
      writeFileSync(join(folder, "m.bin"), "");
      expect((await start(["check", "-"], { stdin: linear(folder) })).exit).toBe(65);
      expect((await start(["check", "-"], { stdin: "merge_method: nonsense\nmodels: []\n" })).exit).toBe(2);
      expect((await start(["check", folder])).exit).toBe(2);
    }));
});

describe("colour", () => {
  test("is off in a pipe, on with FORCE_COLOR, off with NO_COLOR", async () => {
    const wrong = ["check", "/nonexistent.yml"];
    expect((await start(wrong)).out).not.toContain("\u001b[");
    expect((await start(wrong, { env: { FORCE_COLOR: "1" } })).out).toContain("\u001b[");
    expect((await start(wrong, { env: { FORCE_COLOR: "1", NO_COLOR: "1" } })).out).not.toContain("\u001b[");
  });
});

// Arguments, help and completions: what is said on which stream, and the exit code.

import { describe, expect, test } from "bun:test";
import { parseSize } from "../../src/cli/options.ts";
import { start } from "./braid.ts";

describe("help", () => {
  test("names every command, gives examples and exit codes", async () => {
    const { exit, out, err } = await start(["--help"]);
    expect(exit).toBe(0);
    expect(err).toBe("");
    for (const word of [
      "merge",
      "plan",
      "check",
      "inspect",
      "extract",
      "apply",
      "completions",
      "Examples:",
      "65 bad data",
      "--version",
    ])
      expect(out).toContain(word);
    expect(out).not.toMatch(/[ \t]$/m);
  });

  test.each(["merge", "plan", "check", "inspect", "extract", "apply"])(
    "of %s has its usage, groups and an example",
    async (name) => {
      const { exit, out } = await start([name, "--help"]);
      expect(exit).toBe(0);
      // Options that must be given stand between.
      expect(out).toMatch(new RegExp(`Usage: braid ${name} (--\\w+ \\w+ )*\\[OPTIONS\\]`));
      expect(out).toContain(`braid ${name} `);
      expect(out).toContain("Messages:");
      expect(out).toContain("--json");
    },
  );

  test("of merge says the defaults", async () => {
    const { out } = await start(["merge", "--help"]);
    for (const text of ["[default: 256MiB]", "[default: 5GB]", "[default: error]", "--seed, --random-seed"])
      expect(out).toContain(text);
  });

  test("is what no arguments get, as an error", async () => {
    const { exit, out, err } = await start([]);
    expect(exit).toBe(2);
    expect(out).toBe("");
    expect(err).toContain("Usage: braid");
  });

  test("--version is a version", async () => {
    const { exit, out } = await start(["--version"]);
    expect(exit).toBe(0);
    expect(out).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe("mistakes", () => {
  test.each([
    [["megre"], 'error: Unknown command "megre". Did you mean merge?'],
    [["merge", "r.yml", "o", "--overwrit"], "error: Unknown option `--overwrit`. Did you mean --overwrite?"],
    [["plan", "r.yml", "--compatt=mergekit"], "error: Unknown option `--compatt`. Did you mean --compat?"],
    [["inspect", "m", "--quite"], "error: Unknown option `--quite`. Did you mean --quiet?"],
    [["check", "r.yml", "--zzz"], "error: Unknown option `--zzz`."],
    [["--json", "plan", "r.yml"], "error: Option `--json` must come after the command."],
    [["merge", "a", "b", "c"], 'error: Unexpected argument "c": braid merge takes no more.'],
    [["merge"], "error: Missing RECIPE (see --help)."],
    [["merge", "r.yml"], "error: Missing OUT (see --help)."],
    [["apply", "m"], "error: Missing OUT (see --help)."],
    [["extract", "b", "m", "--rank", "4"], "error: Missing OUT (see --help)."],
    [
      ["extract", "b", "m", "o", "--rank", "4", "--svdd", "exact"],
      "error: Unknown option `--svdd`. Did you mean --svd?",
    ],
    [["plan", "r.yml", "--compat", "foo"], 'error: `--compat`: Expected one of "none" and "mergekit", but got "foo".'],
    [
      ["plan", "r.yml", "--seed", "1.5"],
      'error: `--seed`/`--random-seed`: Cannot read the seed "1.5": expected a whole number like 42.',
    ],
    [
      ["plan", "r.yml", "--memory", "12x"],
      'error: `--memory`: Cannot read the size "12x": expected a positive size like 256MiB or 2GB.',
    ],
    [
      ["plan", "r.yml", "--memory", "5B"],
      'error: `--memory`: Cannot read the size "5B": expected a positive size like 256MiB or 2GB.',
    ],
  ] as const)("%j", async (args, message) => {
    const { exit, out, err } = await start(args);
    expect(err).toBe(`${message}\n`);
    expect(out).toBe("");
    expect(exit).toBe(2);
  });

  test("--workers 0 is refused", async () => {
    const { exit, err } = await start(["plan", "r.yml", "--workers", "0"]);
    expect(exit).toBe(2);
    expect(err).toContain("--workers");
  });
});

describe("completions", () => {
  test.each(["bash", "zsh", "fish", "pwsh", "nu"])("for %s is a script", async (shell) => {
    const { exit, out } = await start(["completions", shell]);
    expect(exit).toBe(0);
    expect(out).toContain("braid");
  });

  test("offers commands and options", async () => {
    expect((await start(["completions", "bash", "me"])).out).toContain("merge");
    expect((await start(["completions", "bash", "merge", "--over"])).out).toContain("--overwrite");
  });

  test("of an unknown shell name the known ones", async () => {
    const { exit, err } = await start(["completions", "tcsh"]);
    expect(exit).toBe(2);
    expect(err).toContain("zsh");
  });
});

describe("parseSize", () => {
  test.each([
    ["1", false, 1],
    ["256MiB", false, 268435456],
    ["256 mib", false, 268435456],
    ["2GB", false, 2e9],
    ["1.5g", false, 1.5e9],
    ["10k", false, 10_000],
    ["5B", true, 5e9],
    ["500M", true, 5e8],
    ["5B", false, null],
    ["0", false, null],
    ["-1", false, null],
    ["1e9", false, null],
    ["99999999TB", false, null],
    ["", false, null],
  ] as const)("%s, billions %s: %s", (input, billions, bytes) => {
    expect(parseSize(input, billions)).toBe(bytes);
  });
});

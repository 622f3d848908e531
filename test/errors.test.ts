// docs/errors.md says what src/errors.ts says, and every kind of error is thrown somewhere and tested somewhere.
// After a change of the table: BRAID_WRITE_DOCS=1 bun test ./test/errors.test.ts

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { BraidError, errorKinds, exitCodes, fail, formatDiagnostic, isBraidError, quote } from "../src/errors.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const docs = join(root, "docs/errors.md");

const table = [
  "| kind | exit code | it means |",
  "|---|---|---|",
  ...Object.entries(errorKinds).map(
    ([kind, { exit, means }]) => `| \`${kind}\` | ${exitCodes[exit]} | ${means.replaceAll("|", "\\|")} |`,
  ),
].join("\n");

/** The text of all .ts files below a folder, joined. */
function readAll(folder: string, without: RegExp): string {
  return (readdirSync(join(root, folder), { recursive: true }) as string[])
    .filter((name) => name.endsWith(".ts") && !without.test(name))
    .map((name) => readFileSync(join(root, folder, name), "utf8"))
    .join("\n");
}

describe("docs/errors.md", () => {
  test("has the table of src/errors.ts", () => {
    const text = readFileSync(docs, "utf8");
    const written = /\| kind \|[^\n]*\n(?:\|[^\n]*\n?)+/.exec(text)![0];
    if (process.env.BRAID_WRITE_DOCS)
      writeFileSync(
        docs,
        text.replace(written, () => `${table}\n`),
      );
    else expect(written.trim()).toBe(table);
  });

  test("explains every exit code", () => {
    const text = readFileSync(docs, "utf8");
    for (const code of Object.values(exitCodes)) expect(text).toMatch(new RegExp(`^\\| ${code} \\|`, "m"));
  });
});

describe("kinds", () => {
  const source = readAll("src", /^errors\.ts$/);

  test.each(Object.keys(errorKinds))("%s is produced in src", (kind) => {
    // Either spelt out, or in a table that a call looks up.
    expect(source.includes(`"${kind}"`)).toBe(true);
  });

  test("every exit name is used by a kind, or by the command line itself", () => {
    const used = new Set<string>(Object.values(errorKinds).map(({ exit }) => exit));
    expect(Object.keys(exitCodes).filter((name) => !used.has(name))).toEqual(["ok"]);
  });
});

describe("BraidError", () => {
  const where = { file: "recipe.yml", line: 7, column: 3 };

  test("carries all diagnostics and takes its kind and exit code from the first", () => {
    const error = new BraidError([
      { kind: "shape-mismatch", message: "Cannot merge a", hint: "Do b." },
      { kind: "usage", message: "c", where },
    ]);
    expect(error.diagnostics.length).toBe(2);
    expect(error.kind).toBe("shape-mismatch");
    expect(error.exitCode).toBe(65);
    expect(error.message).toBe("Cannot merge a\n  Do b.\nrecipe.yml:7:3: c");
  });

  test("fail throws one with its cause", () => {
    const cause = new Error("EIO");
    let caught: unknown;
    try {
      fail("io", "Cannot read x", { cause });
    } catch (error) {
      caught = error;
    }
    expect(isBraidError(caught)).toBe(true);
    expect((caught as BraidError).cause).toBe(cause);
    expect(isBraidError(cause)).toBe(false);
  });

  test("a diagnostic without place and hint is its message", () => {
    expect(formatDiagnostic({ kind: "io", message: "Cannot read x" })).toBe("Cannot read x");
  });
});

describe("quote", () => {
  test.each([
    ["plain", '"plain"'],
    ["a\nb\u0007", '"a\\u{a}b\\u{7}"'],
    ["\u202egnp.exe", '"\\u{202e}gnp.exe"'],
    ["日本 é", '"日本 é"'],
  ])("%j", (name, quoted) => {
    expect(quote(name)).toBe(quoted);
  });

  test("cuts what is too long", () => {
    expect(quote("x".repeat(300), 10)).toBe(`"${"x".repeat(10)}…"`);
  });
});

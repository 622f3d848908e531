// YAML 1.1 as PyYAML reads it. pyyaml.json was written by PyYAML itself: values of scalars, and documents or "error".

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { numberFromText } from "../../src/recipe/scalars.ts";
import { type MapNode, maxRecipeLength, type Node, parseYaml } from "../../src/recipe/yaml.ts";
import { problems, told } from "./helpers.ts";

const table = JSON.parse(readFileSync(new URL("pyyaml.json", import.meta.url), "utf8")) as {
  scalars: [text: string, type: string, value: unknown][];
  documents: [text: string, value: unknown][];
};

function plain(node: Node): unknown {
  if (node.kind === "list") return node.items.map(plain);
  if (node.kind === "map") return Object.fromEntries(node.entries.map((e) => [String(e.key.value), plain(e.value)]));
  return node.type === "date" ? { date: true } : node.value;
}

const python = (text: string): number => ({ inf: Infinity, "-inf": -Infinity, nan: NaN })[text] ?? Number(text);

/** Documents where Braid is meant to differ from PyYAML, and why. */
const differs: Record<string, unknown> = {
  // An invisible character in a name is a mistake; at the start of the file it is a byte order mark.
  "a: \ufeff1\n": "error",
  // Timestamps, aliases to null and the like are the same; an empty file has no document at all.
  "": [],
  "# only\n": [],
};

describe("YAML 1.1", () => {
  test("plain scalars have the type and value that PyYAML gives them", () => {
    const wrong: unknown[] = [];
    for (const [text, type, value] of table.scalars) {
      let got: [string, unknown] = ["error", null];
      const errors = problems(() => {
        const root = parseYaml(`- ${text}\n`, "f")[0]!.root;
        const node = root.kind === "list" && root.items.length === 1 ? root.items[0]! : root;
        if (node.kind !== "scalar") got = ["struct", null];
        else if (node.type === "number") got = [node.integer ? "int" : "float", node.value];
        else got = [node.type, node.type === "date" ? null : node.value];
      });
      if (errors.length > 0) got = ["error", null];
      const same =
        type === "float"
          ? Object.is(python(String(value)), got[1]) ||
            Math.abs(python(String(value)) - Number(got[1])) <= 1e-12 * Math.abs(Number(got[1]))
          : type === "int"
            ? String(got[1]) === value
            : type === "error" || got[1] === value;
      if (got[0] !== type || !same) wrong.push({ text, want: [type, value], got });
    }
    expect(wrong).toEqual([]);
    expect(table.scalars.length).toBeGreaterThan(300);
  });

  for (const [text, value] of table.documents) {
    test(`${JSON.stringify(text)} reads as PyYAML reads it`, () => {
      let got: unknown = "error";
      problems(() => {
        got = parseYaml(text, "f").map((d) => plain(d.root));
      });
      expect(JSON.stringify(got)).toBe(JSON.stringify(text in differs ? differs[text] : value));
    });
  }

  test("numbers in quotes are read as Python's float() does", () => {
    const rows: [string, number | undefined][] = [
      ["0.7", 0.7],
      [" 1e-5 ", 1e-5],
      ["1_000", 1000],
      ["-.3", -0.3],
      ["5.", 5],
      ["+2", 2],
      ["1e400", Infinity],
      ["inf", Infinity],
      ["-Infinity", -Infinity],
      ["heavy", undefined],
      ["", undefined],
      ["1__0", undefined],
      ["0x10", undefined],
      ["1,5", undefined],
    ];
    for (const [text, value] of rows) expect(numberFromText(text)).toBe(value as number);
    expect(numberFromText("nan")).toBeNaN();
  });

  test("every node knows its line and column, also after a byte order mark and in brackets that are not indented", () => {
    const root = parseYaml("\ufeffa:\n  - bb: 1\n    c: [x,\n y,\nz]\nd:\n", "f")[0]!.root as MapNode;
    const places: string[] = [];
    const walk = (node: Node, name: string): void => {
      places.push(`${name}@${node.at.line}:${node.at.column}`);
      if (node.kind === "list")
        node.items.forEach((item, i) => {
          walk(item, `${name}[${i}]`);
        });
      if (node.kind === "map") for (const { key, value } of node.entries) walk(value, `${name}.${key.text}`);
    };
    walk(root, "");
    expect(places).toEqual([
      "@1:1",
      ".a@2:3",
      ".a[0]@2:5",
      ".a[0].bb@2:9",
      ".a[0].c@3:8",
      ".a[0].c[0]@3:9",
      ".a[0].c[1]@4:2",
      ".a[0].c[2]@5:1",
      ".d@6:1",
    ]);
  });

  test("an aliased node keeps the place where it was written", () => {
    const root = parseYaml("x: &x {a: 1}\ny:\n  <<: *x\nz: *x\n", "f")[0]!.root as MapNode;
    const z = root.entries[2]!.value as MapNode;
    const y = root.entries[1]!.value as MapNode;
    expect([z.entries[0]!.value.at.line, z.entries[0]!.value.at.column]).toEqual([1, 11]);
    expect([y.entries[0]!.value.at.line, y.entries[0]!.merged]).toEqual([1, true]);
  });

  test("a duplicate key is told with both places, and the last one counts", () => {
    const [document] = parseYaml("a: 1\nb: 2\na: 3\n", "f");
    expect(document!.duplicates.map((d) => [d.key, d.at.line, d.first.line])).toEqual([["a", 3, 1]]);
    expect(plain(document!.root)).toEqual({ a: 3, b: 2 });
  });
});

describe("hostile YAML", () => {
  const letters = "abcdefghijkl";
  const bomb = [...letters]
    .map(
      (c, i) =>
        `${c}: &${c} [${Array(10)
          .fill(i === 0 ? "x" : `*${letters[i - 1]}`)
          .join(", ")}]\n`,
    )
    .join("");
  const merges = [...letters]
    .map((c, i) => `${c}: &${c}\n${i === 0 ? "  k: 1\n" : `  <<: [*${letters[i - 1]}, *${letters[i - 1]}]\n`}`)
    .join("");
  const rows: [name: string, text: string, words: RegExp][] = [
    ["aliases of aliases", bomb, /more than 100000 nodes/],
    ["brackets in brackets", "[".repeat(500_000), /nested deeper than 64/],
    ["braces in braces", "{a: ".repeat(250_000), /nested deeper than 64/],
    ["dashes after dashes", "- ".repeat(500_000), /indented by \d+ columns/],
    ["forty dashes that fit a line", `${"- ".repeat(99)}a`, /nested deeper than 64/],
    ["question marks", "? ".repeat(500_000), /indented by \d+ columns/],
    ["a text above the limit", "#".repeat(maxRecipeLength + 1), /has 1048577 characters, the limit is 1048576/],
    ["a list that contains itself", "&a [*a]", /contains itself/],
    ["more tokens than a recipe has", "a: 1\n".repeat(200_000), /more than 200000 tokens/],
    ["documents without end", "---\n".repeat(250_000), /more than 200000 tokens/],
    ["a control character", "a: \u0007", /character U\+0007 is not allowed/],
    ["a line separator", "a: b\u2028c: d", /character U\+2028 is not allowed/],
    ["a tag that would construct an object", "a: !!python/object/apply:os.system [x]", /tag .* is not allowed/],
  ];
  for (const [name, text, words] of rows) {
    test(`${name} is refused`, () => {
      const found = problems(() => parseYaml(text, "f"));
      expect(told(found).join("\n")).toMatch(words);
      expect(found[0]!.kind).toBe("recipe-syntax");
    });
  }

  test("merge keys that double at every step stay small", () => {
    const root = parseYaml(merges, "f")[0]!.root as MapNode;
    expect((root.entries.at(-1)!.value as MapNode).entries.length).toBe(1);
  });
});

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { memorySource } from "../../src/bytes/memory.ts";
import { parseJson } from "../../src/tensor/config.ts";
import { parseHeader } from "../../src/tensor/header.ts";
import { readIndex } from "../../src/tensor/index-file.ts";
import { failure } from "./fixture.ts";

const folder = join(dirname(dirname(fileURLToPath(import.meta.url))), "bad");

/** By the end of a file's name, who has to refuse it. */
const readers: Readonly<Record<string, (name: string, bytes: Uint8Array) => unknown>> = {
  ".safetensors": (name, bytes) => parseHeader(memorySource(name, bytes)),
  ".index.json": (name, bytes) => readIndex(memorySource(name, bytes)),
  ".config.json": (name, bytes) => parseJson(name, new TextDecoder().decode(bytes)),
};

/** "name: kind: first line of the message". */
const expected = new Map(
  readFileSync(join(folder, "expected.txt"), "utf8")
    .trim()
    .split("\n")
    .map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]),
);

describe("a bad file is refused, for its reason:", () => {
  const names = readdirSync(folder)
    .filter((name) => !["README.md", "expected.txt"].includes(name))
    .sort();
  for (const name of names) {
    test(name, async () => {
      const read = Object.entries(readers).find(([ending]) => name.endsWith(ending))![1];
      const error = await failure(() => read(name, new Uint8Array(readFileSync(join(folder, name)))));
      expect(`${error.kind}: ${error.diagnostics[0]!.message}`).toBe(expected.get(name)!);
    });
  }

  test("and every expectation has its file", () => expect([...expected.keys()].sort()).toEqual(names));
});

// Every method has a page that names all of its parameters, and an example that merges.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { merge } from "../../src/merge.ts";
import { methods } from "../../src/methods/index.ts";
import { projectRoot, requestFor, testHost, withTempFolder } from "../support/host.ts";
import { readCheckpoint } from "../support/tensors.ts";

const read = (folder: string, ending: string) =>
  readdirSync(join(projectRoot, folder))
    .filter((name) => name.endsWith(ending))
    .map((name) => ({ name, text: readFileSync(join(projectRoot, folder, name), "utf8") }));

const pages = read("docs/methods", ".md");
const examples = read("examples", ".yml");
const methodOf = (text: string) => /^merge_method: (\w+)/m.exec(text)![1]!;

describe("every method", () => {
  const list = pages.find((p) => p.name === "README.md")!.text;
  for (const method of methods.values()) {
    test(`${method.name} has a page with its parameters, and an example`, () => {
      const own = pages.filter(({ name, text }) => {
        const head = text.split("\n").slice(0, 4).join(" ");
        return (
          name !== "README.md" &&
          (name === `${method.name}.md` || new RegExp(`[\`# ,]${method.name}[\`,\\s]`).test(head))
        );
      });
      expect(own.map((p) => p.name)).not.toEqual([]);
      const text = own.map((p) => p.text).join("\n");
      expect(method.parameters.map((p) => p.name).filter((name) => !text.includes(`\`${name}\``))).toEqual([]);
      expect(list).toContain(`\`${method.name}\``);
      expect(examples.map((e) => methodOf(e.text))).toContain(method.name);
    });
  }
});

describe("every example merges", () => {
  for (const { name, text } of examples) {
    test(name, () =>
      withTempFolder(async (temp) => {
        const recipe = text.replace(/(^|[\s:+"[{])models\//gm, "$1examples/models/");
        const summary = await merge(requestFor(recipe), join(temp, "out"), { overwrite: false }, testHost());
        expect(summary.method).toBe(methodOf(text));
        for (const [tensor, { values }] of readCheckpoint(join(temp, "out"))) {
          if (!values.every(Number.isFinite)) expect(tensor).toBe("finite");
        }
      }),
    );
  }
});

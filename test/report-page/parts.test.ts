// The parts of a report that can be wrong by themselves: the manifest, the recipe's text, grids of layers.

import { describe, expect, test } from "bun:test";
import { isBraidError } from "../../src/errors.ts";
import {
  conflictOf,
  layerGrids,
  meanConflict,
  rangeOf,
  ratioOf,
  unchangedOf,
} from "../../src/report-page/layer-grid.ts";
import { parseManifest } from "../../src/report-page/manifest.ts";
import { recipeText } from "../../src/report-page/yaml-text.ts";
import { parseXml } from "../svg/xml.ts";
import { syntheticAnalysis, syntheticManifest } from "./synthetic.ts";

describe("braid.json", () => {
  test("of a merge is read as it is", () => {
    const manifest = syntheticManifest();
    expect(parseManifest(JSON.stringify(manifest), "braid.json")).toEqual(manifest);
  });

  const good = syntheticManifest();
  const bad: [string, string, RegExp][] = [
    ["no JSON", "{", /it is not JSON/],
    ["a list", "[]", /it has no format/],
    ["null", "null", /it has no format/],
    [
      "another format",
      '{"format":"braid-manifest-9"}',
      /its format is "braid-manifest-9", expected "braid-manifest-1"/,
    ],
    ["half of it", '{"format":"braid-manifest-1"}', /version: /],
    ["a wrong type", JSON.stringify({ ...good, tensors: "39" }), /tensors: /],
    ["a wrong place", JSON.stringify({ ...good, files: [{ name: 1 }] }), /files\.0\.name: /],
    ["a negative count", JSON.stringify({ ...good, overflow: -1 }), /overflow: /],
  ];
  test.each(bad)("with %s is refused, and the error names the file", (_, text, expected) => {
    let caught: unknown;
    try {
      parseManifest(text, "out/braid.json");
    } catch (e) {
      caught = e;
    }
    expect(isBraidError(caught) && caught.kind).toBe("manifest");
    expect((caught as Error).message).toMatch(expected);
    expect((caught as Error).message).toContain('"out/braid.json"');
  });
});

describe("the recipe's text", () => {
  const spans = (text: string) => {
    const { html } = recipeText(text);
    const inner = /<code>([\s\S]*)<\/code>/.exec(html)![1]!;
    return {
      plain: parseXml(`<x>${inner.replace(/<\/?span[^>]*>/g, "")}</x>`).text,
      marked: [...inner.matchAll(/<span class="(\w+)">([^<]*)<\/span>/g)].map((m) => `${m[1]} ${m[2]}`),
    };
  };

  const recipes = [
    "a: 1",
    "# only a remark",
    'models:\n  - model: "a: b # c"   # d\n    parameters: { weight: [0.5, 1] }\n',
    "key with blanks: it's # fine\n- - nested: 'x'\nplain text\n  |block\n\n\ttab: 1",
    "url: http://example.org/#fragment\n? odd\n: value\n!!map {a: b}",
    `long: ${"x".repeat(5000)}`,
    `${"a ".repeat(900)}:${" ".repeat(900)}#`,
  ];
  test("is not changed by its marks", () => {
    for (const recipe of recipes) expect(spans(recipe).plain).toBe(recipe.trimEnd());
  });

  test("has its keys, values and remarks marked", () => {
    expect(spans('- model: "a # b"  # c').marked).toEqual(["key model:", "value &quot;a # b&quot;  ", "remark # c"]);
    expect(spans("t: it's # c").marked).toEqual(["key t:", "value it&#39;s ", "remark # c"]);
    expect(spans("url: http://x/#y").marked).toEqual(["key url:", "value http://x/#y"]);
    expect(spans("# a: b").marked).toEqual(["remark # a: b"]);
  });
});

describe("grids", () => {
  const analysis = syntheticAnalysis(["a", "b"], 3);

  test("have the kinds in their order and every layer, and leave out what belongs to none", () => {
    const [grid, ...more] = layerGrids(analysis, ratioOf(0));
    expect(more).toEqual([]);
    expect(grid!.stack).toBe("model.layers");
    expect(grid!.layers).toEqual([0, 1, 2]);
    expect(grid!.kinds).toEqual([
      "attention q",
      "attention k",
      "attention v",
      "attention o",
      "mlp gate",
      "mlp up",
      "mlp down",
    ]);
    expect(rangeOf([grid!])!.least).toBeCloseTo(0.01 / 80, 12);
  });

  test("join tensors of one place as if they were one", () => {
    const [one] = analysis.tensors.filter((t) => t.layer === 0);
    const tensor = (delta: number, base: number, conflict: number, both: number, zeros: number) => ({
      ...one!,
      base: { norm: base, mean: 0, nonFinite: 0 },
      models: [{ ...one!.models[0]!, norm: delta, zeros, count: 10 }, null],
      pairs: [{ ...one!.pairs[0]!, a: 0, b: 1, conflict, bothChange: both }],
    });
    const tensors = [tensor(3, 30, 0.5, 100, 1), tensor(4, 40, 0.1, 300, 4)];
    // √(3² + 4²) / √(30² + 40²)
    expect(ratioOf(0)(tensors)).toBeCloseTo(5 / 50, 12);
    expect(ratioOf(1)(tensors)).toBeNull();
    expect(conflictOf(0, 1)(tensors)).toBeCloseTo((0.5 * 100 + 0.1 * 300) / 400, 12);
    expect(meanConflict([0, 1])(tensors)).toBeCloseTo(0.2, 12);
    expect(meanConflict([0])(tensors)).toBeNull();
    expect(unchangedOf(0)(tensors)).toBeCloseTo(0.25, 12);
    expect(ratioOf(0)([])).toBeNull();
  });

  test("two stacks of layers are two grids", () => {
    const tensors = analysis.tensors.map((t, i) => (i % 2 === 0 && t.stack ? { ...t, stack: "decoder" } : t));
    expect(
      layerGrids({ ...analysis, tensors }, ratioOf(0))
        .map((g) => g.stack)
        .sort(),
    ).toEqual(["decoder", "model.layers"]);
  });
});

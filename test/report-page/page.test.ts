// The page on a synthetic 80-layer model with names that attack it: its markup is read back and compared with the facts.

import { describe, expect, test } from "bun:test";
import type { ReportFacts } from "../../src/report-page/facts.ts";
import { reportPage } from "../../src/report-page/page.ts";
import { magnitudeBins } from "../../src/report-page/sections/distributions.ts";
import { notesOf } from "../../src/report-page/sections/overview.ts";
import { formatNumber } from "../../src/svg/index.ts";
import { findAll, hasClass, type Node, parseXml } from "../svg/xml.ts";
import { referenceNames, strengthAt, syntheticFacts } from "./synthetic.ts";

/** `<body>` of a page as XML: HTML's void elements are closed, and break opportunities taken out of names. */
function bodyOf(html: string): Node {
  const body = /<body>[\s\S]*<\/body>/.exec(html)![0];
  return parseXml(body.replaceAll("<wbr>", ""));
}

const deepText = (node: Node): string => `${node.text}${node.children.map(deepText).join("")}`;

const facts = syntheticFacts();
const html = reportPage(facts);
const body = bodyOf(html);
const byClass = (root: Node, name: string) => findAll(root, (n) => hasClass(n, name));

describe("the page", () => {
  test("is one document without scripts, handlers, or anything from elsewhere", () => {
    expect(html.startsWith('<!doctype html>\n<html lang="en">')).toBe(true);
    for (const node of findAll(body, () => true)) {
      expect(["script", "iframe", "object", "embed", "img", "link", "base", "form", "input"]).not.toContain(node.name);
      for (const key of node.attributes.keys()) expect(key).not.toMatch(/^on|^src$|^style$|^action$/);
      const href = node.attributes.get("href");
      if (href !== undefined) expect(href.startsWith("#")).toBe(true);
    }
    const style = /<style>([\s\S]*?)<\/style>/.exec(html)![1]!;
    expect(style).not.toMatch(/url\(|@import|expression|<\//);
    expect(html.replaceAll("http://www.w3.org/2000/svg", "")).not.toMatch(/(src|href)="(https?:)?\/\//);
    expect(html).toContain("default-src 'none'");
  });

  test("has headings in order, sections that its contents link to, and no id twice", () => {
    const levels = findAll(body, (n) => /^h[1-6]$/.test(n.name)).map((n) => Number(n.name[1]));
    expect(levels[0]).toBe(1);
    expect(levels.filter((l) => l === 1)).toHaveLength(1);
    for (let i = 1; i < levels.length; i++) expect(levels[i]! - levels[i - 1]!).toBeLessThanOrEqual(1);
    const ids = findAll(body, (n) => n.attributes.has("id")).map((n) => n.attributes.get("id"));
    expect(new Set(ids).size).toBe(ids.length);
    const links = findAll(body, (n) => n.name === "a").map((n) => n.attributes.get("href")!.slice(1));
    expect(links).toEqual(ids as string[]);
    expect(links).toHaveLength(10);
  });

  test("shows hostile names as text, and right-to-left marks as what they are", () => {
    const text = deepText(body);
    expect(text).toContain(`../../"><script>alert("x")</script>/\\u{202e}gnp.exe/модель`);
    expect(html).not.toContain("\u202e");
    expect(text).toContain("model.layers.3.<b>mlp</b>.weight");
  });

  test("has a cell for every layer and kind in every map, with the number that was given", () => {
    const maps = findAll(body, (n) => n.name === "svg" && n.attributes.get("aria-label")!.startsWith("Delta of "));
    expect(maps.map((n) => n.attributes.get("aria-label"))).toEqual([
      ...referenceNames.map((n) => `Delta of ${n.replace("\u202e", "\\u{202e}")}`),
      "Delta of output",
    ]);
    for (const map of maps) {
      expect(findAll(map, (n) => n.name === "rect" && n.children[0]?.name === "title")).toHaveLength(80 * 7);
    }
    const titles = findAll(maps[0]!, (n) => n.name === "title").map((n) => n.text);
    expect(titles).toContain(`attention q, 0: ${formatNumber(strengthAt(0, 0), 3)}`);
    expect(titles).toContain(`mlp down, 79: ${formatNumber(strengthAt(79, 6), 3)}`);
  });

  test("tells the numbers of the manifest", () => {
    const text = deepText(body);
    for (const expected of ["70.6 B", "563", "BF16, F32", "90.0001 %", "1,234", "56,789", "e".repeat(64), "llama3.1"])
      expect(text).toContain(expected);
    expect(text).toContain("differs by tensor");
    const recipe = findAll(body, (n) => n.name === "pre")[0]!;
    expect(deepTextInOrder(recipe)).toBe(facts.manifest.recipe.trimEnd().replace("\u202e", "\\u{202e}"));
  });

  test("every table has a caption and a head for every column and row", () => {
    const tables = findAll(body, (n) => n.name === "table");
    expect(tables.length).toBeGreaterThan(12);
    for (const table of tables) {
      expect(table.children[0]!.name).toBe("caption");
      const [head, ...rows] = findAll(table, (n) => n.name === "tr");
      expect(head!.children.every((c) => c.name === "th" && c.attributes.get("scope") === "col")).toBe(true);
      for (const row of rows) {
        expect(row.children).toHaveLength(head!.children.length);
        expect(row.children[0]!.attributes.get("scope")).toBe("row");
      }
    }
  });

  test("what scrolls can be reached by the keyboard and has a name", () => {
    for (const node of byClass(body, "scroll")) {
      expect(node.attributes.get("tabindex")).toBe("0");
      expect(node.attributes.get("aria-label")).toBeTruthy();
    }
  });

  test("is the same for the same facts", () => {
    expect(reportPage(syntheticFacts())).toBe(html);
  });

  test("stays below a megabyte for 80 layers and four models", () => {
    expect(html.length).toBeLessThan(1_000_000);
  });
});

/** Text of a tree of spans in the order of the document: `parseXml` keeps the texts of an element together. */
function deepTextInOrder(node: Node): string {
  const start = html.indexOf("<code>", html.indexOf('id="recipe"')) + "<code>".length;
  const inner = html.slice(start, html.indexOf("</code>", start));
  expect(node.name).toBe("pre");
  return parseXml(`<x>${inner.replace(/<\/?span[^>]*>/g, "")}</x>`).text;
}

describe("what is missing", () => {
  const gone: ReportFacts = {
    ...facts,
    comparison: { missing: "The deltas are gone because of <this>." },
    absorbed: { missing: "Rounding is not known because of <that>." },
    timings: { missing: "No times." },
  };

  test("is told where it would be, with the reason", () => {
    const text = deepText(bodyOf(reportPage(gone)));
    expect(text.split("The deltas are gone because of <this>.")).toHaveLength(4);
    expect(text).toContain("Rounding is not known because of <that>.");
    expect(text).toContain("No times.");
    expect(text).toContain("90.0001 %");
  });
});

describe("notes", () => {
  const texts = (f: ReportFacts) => notesOf(f).map((n) => `${n.level}: ${n.text}`);

  test("name what is out of the ordinary", () => {
    expect(texts(facts)).toEqual([
      "warning: The inputs hold 1,234 NaN or infinite elements in 1 place.",
      "warning: 2 merged values did not fit the output dtype.",
      expect.stringMatching(
        /^note: Rounding to the output dtype took back [\d,]+ of [\d,]+ changed elements \(4\.79 %\)\.$/,
      ),
    ]);
  });

  test("tell models that are alike, opposed, drowned or of another base", () => {
    const { found } = facts.comparison as { found: Exclude<ReportFacts["comparison"], { missing: string }>["found"] };
    const { analysis } = found;
    const pair = analysis.whole.pairs[0]!;
    const first = analysis.whole.models[0]!;
    const changed: ReportFacts = {
      ...facts,
      manifest: { ...facts.manifest, nonFinite: [], overflow: 0 },
      absorbed: { missing: "" },
      comparison: {
        found: {
          ...found,
          analysis: {
            ...analysis,
            whole: {
              ...analysis.whole,
              pairs: [
                { ...pair, a: 0, b: 1, cosine: 0.99 },
                { ...pair, a: 1, b: 2, cosine: -0.5 },
                { ...pair, a: 0, b: 3, cosine: 0.999 },
              ],
              models: [{ ...first, norm: 0.01 }, ...analysis.whole.models.slice(1)],
            },
            lineage: {
              ...analysis.lineage,
              models: [{ ...analysis.lineage.models[0]!, verdict: "doubtful", distance: 1.41 }],
            },
          },
        },
      },
    };
    const found4 = texts(changed);
    expect(found4).toHaveLength(4);
    expect(found4[0]).toContain("may be one fine-tune, counted twice");
    expect(found4[1]).toContain("pull in opposite directions (cosine −0.5)");
    expect(found4[2]).toContain("150 times as long");
    expect(found4[3]).toContain("may not come from this base");
  });
});

test("bins of magnitudes are shares of all elements over the same powers of two", () => {
  const { found } = facts.comparison as { found: Exclude<ReportFacts["comparison"], { missing: string }>["found"] };
  const model = found.analysis.whole.models[0]!;
  const bins = magnitudeBins([
    { ...model, count: 100, magnitudes: { first: -3, counts: [10, 20] } },
    { ...model, count: 10, magnitudes: { first: -2, counts: [1, 0, 4] } },
    null,
  ])!;
  expect(bins.edges).toEqual([0.125, 0.25, 0.5, 1, 2]);
  expect(bins.shares).toEqual([
    [0.1, 0.2, 0, 0],
    [0, 0.1, 0, 0.4],
    [0, 0, 0, 0],
  ]);
  expect(magnitudeBins([null])).toBeNull();
});

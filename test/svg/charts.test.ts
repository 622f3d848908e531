// Charts are read back as XML, and what they show is compared with what they were given.

import { describe, expect, test } from "bun:test";
import { barChart, heatMap, histogram, lineChart, standalone } from "../../src/svg/index.ts";
import { shorten, textWidth } from "../../src/svg/label.ts";
import { escapeText } from "../../src/svg/markup.ts";
import { decimalExponent, formatNumber, formatTick } from "../../src/svg/numbers.ts";
import { linearScale, logScale, niceStep } from "../../src/svg/scale.ts";
import { findAll, hasClass, type Node, numberOf, parseXml } from "./xml.ts";

const hostile = [
  `"><script>alert(1)</script>`,
  "]]><!-- &amp; &#0; -->",
  "' onload='x",
  "name\u0000with\u001bcontrol\u202eabc\u2066\ufeff\ufffe",
  "lone \ud800 and \udc00 surrogates, \ud83d\ude00 a pair",
  "x".repeat(5000),
  "",
] as const;

const charts: Readonly<Record<string, (name: string) => string>> = {
  lineChart: (name) =>
    lineChart({
      title: name,
      description: name,
      series: [{ name, points: [{ x: 0, y: 1 }] }],
      x: { label: name },
      y: { label: name },
      references: [{ y: 1, label: name }],
    }),
  histogram: (name) =>
    histogram({
      title: name,
      edges: [0, 1, 2],
      series: [
        { name, counts: [1, 2] },
        { name, counts: [2, 1] },
      ],
      x: { label: name },
    }),
  barChart: (name) =>
    barChart({ title: name, categories: [name, name], series: [{ name, values: [1, null] }], x: { label: name } }),
  heatMap: (name) =>
    heatMap({
      title: name,
      rows: [name],
      columns: [name, name],
      values: [[1, null]],
      columnsLabel: name,
      scale: { from: 0, to: 1, label: name },
    }),
};

const open = (svg: string): Node => parseXml(svg);
const texts = (node: Node): string[] => findAll(node, (n) => n.name === "text").map((n) => n.text);

describe("every chart", () => {
  for (const [kind, make] of Object.entries(charts)) {
    test(`${kind} is well-formed whatever its names hold, and lets none of it become markup`, () => {
      const plain = open(make("plain"));
      for (const name of hostile) {
        const svg = make(name);
        const root = open(svg);
        expect(findAll(root, (n) => n.name === "script")).toEqual([]);
        expect(findAll(root, (n) => [...n.attributes.keys()].some((key) => /^on/.test(key)))).toEqual([]);
        expect(new Set(findAll(root, () => true).map((n) => n.name))).toEqual(
          new Set(findAll(plain, () => true).map((n) => n.name)),
        );
        expect(svg).not.toMatch(/\p{Cc}|[\u202e\u2066\ufeff]/u);
      }
    });

    test(`${kind} has an accessible name and no coordinate that is not a number`, () => {
      const root = open(make("a name"));
      expect(root.attributes.get("role")).toBe("img");
      expect(root.attributes.get("aria-label")).toBe("a name");
      expect(root.children[0]).toMatchObject({ name: "title", text: "a name" });
      for (const node of findAll(root, () => true)) {
        for (const [key, value] of node.attributes) {
          if (!["aria-label", "class", "stroke-dasharray"].includes(key))
            expect(`${key}=${value}`).not.toMatch(/NaN|Infinity|undefined|\de-/);
        }
      }
    });

    test(`${kind} is the same text again, and well-formed on its own`, () => {
      expect(make("again")).toBe(make("again"));
      const root = open(standalone(make("alone")));
      expect(root.attributes.get("xmlns")).toBe("http://www.w3.org/2000/svg");
      expect(findAll(root, (n) => n.name === "style")).toHaveLength(1);
    });
  }

  test("with nothing to show is still a picture", () => {
    for (const svg of [
      lineChart({ title: "none", series: [] }),
      lineChart({ title: "none", series: [{ name: "a", points: [{ x: Number.NaN, y: null }] }] }),
      histogram({ title: "none", edges: [0, 1], series: [] }),
      barChart({ title: "none", categories: [], series: [] }),
      heatMap({ title: "none", rows: [], columns: [], values: [], scale: { from: 0, to: 0 } }),
    ]) {
      expect(svg).not.toContain("NaN");
      expect(open(svg).attributes.get("aria-label")).toBe("none");
    }
  });
});

describe("heatMap", () => {
  const rows = ["q", "k", "v", "o", "gate", "up", "down"];
  const columns = Array.from({ length: 80 }, (_, i) => String(i));
  const values = rows.map((_, r) => columns.map((_, c) => (r === 3 && c === 7 ? null : (r * 80 + c) / 559)));
  const root = open(heatMap({ title: "t", rows, columns, values, columnsLabel: "layer", scale: { from: 0, to: 1 } }));
  const cells = findAll(root, (n) => n.name === "rect" && n.children[0]?.name === "title");

  test("has a cell a value, and a stroke where there is none", () => {
    expect(cells).toHaveLength(7 * 80 - 1);
    const missing = findAll(root, (n) => hasClass(n, "missing"));
    expect(missing.map((n) => n.children[0]?.text)).toEqual(["o, 7: no value"]);
  });

  test("colours rise with the values, and cells do not overlap", () => {
    const opacities = cells.map((n) => numberOf(n, "fill-opacity"));
    expect(opacities).toEqual([...opacities].sort((a, b) => a - b));
    expect(opacities[0]).toBe(0.05);
    expect(opacities.at(-1)).toBe(1);
    const first = cells.slice(0, 80);
    for (let i = 1; i < 80; i++) {
      expect(numberOf(first[i]!, "x")).toBeGreaterThanOrEqual(
        numberOf(first[i - 1]!, "x") + numberOf(first[i - 1]!, "width"),
      );
    }
  });

  test("stays inside its frame, with the numbers of layers thinned to where they fit", () => {
    const width = numberOf(root, "width");
    expect(width).toBeLessThan(760);
    for (const cell of cells) expect(numberOf(cell, "x") + numberOf(cell, "width")).toBeLessThanOrEqual(width);
    const numbers = findAll(root, (n) => n.name === "text" && /^\d+$/.test(n.text) && hasClass(n, "muted")).slice(
      0,
      -2,
    );
    expect(numbers.length).toBeGreaterThan(8);
    for (let i = 1; i < numbers.length; i++) {
      const [a, b] = [numbers[i - 1]!, numbers[i]!];
      const touch = numberOf(a, "x") + textWidth(a.text) / 2;
      expect(touch).toBeLessThan(numberOf(b, "x") - textWidth(b.text) / 2);
    }
  });

  test("a diverging scale has a colour for each sign and none at zero", () => {
    const two = open(
      heatMap({
        title: "t",
        rows: ["a"],
        columns: ["x", "y", "z"],
        values: [[-1, 0, 1]],
        scale: { from: -1, to: 1, kind: "diverging" },
        numbers: true,
      }),
    );
    const drawn = findAll(two, (n) => n.name === "rect" && n.children[0]?.name === "title");
    expect(drawn.map((n) => [hasClass(n, "negative"), numberOf(n, "fill-opacity")])).toEqual([
      [true, 1],
      [false, 0.05],
      [false, 1],
    ]);
    expect(texts(two)).toContain("−1");
  });

  test("a logarithmic scale gives each power of ten the same share", () => {
    const log = open(
      heatMap({
        title: "t",
        rows: ["a"],
        columns: ["x", "y", "z"],
        values: [[1, 10, 100]],
        scale: { from: 1, to: 100, kind: "log" },
      }),
    );
    const drawn = findAll(log, (n) => n.name === "rect" && n.children[0]?.name === "title");
    expect(drawn.map((n) => numberOf(n, "fill-opacity"))).toEqual([0.05, 0.53, 1]);
  });
});

describe("lineChart", () => {
  const points = [0, 0.5, 0.7, 0.9, 0.95, 0.99].map((x, i) => ({ x, y: 1 - i / 10, low: 0.9 - i / 10, high: 1 }));
  const root = open(
    lineChart({
      title: "t",
      series: [
        { name: "a", points },
        {
          name: "b",
          points: [
            { x: 0, y: 0 },
            { x: 0.5, y: null },
            { x: 0.99, y: 1 },
          ],
        },
      ],
      x: { kind: "even" },
    }),
  );
  const circles = findAll(root, (n) => n.name === "circle" && n.children.length > 0);

  test("has a mark for each point, further right for more and higher up for more", () => {
    expect(circles).toHaveLength(6);
    for (let i = 1; i < 6; i++) {
      expect(numberOf(circles[i]!, "cx")).toBeGreaterThan(numberOf(circles[i - 1]!, "cx"));
      expect(numberOf(circles[i]!, "cy")).toBeGreaterThan(numberOf(circles[i - 1]!, "cy"));
    }
  });

  test("even places are even, and each is named", () => {
    const xs = circles.map((n) => numberOf(n, "cx"));
    for (let i = 2; i < 6; i++) expect(xs[i]! - xs[i - 1]!).toBeCloseTo(xs[1]! - xs[0]!, 1);
    expect(texts(root)).toEqual(expect.arrayContaining(["0", "0.5", "0.7", "0.9", "0.95", "0.99", "a", "b"]));
  });

  test("a missing value lifts the pen, and ranges are drawn", () => {
    const lines = findAll(root, (n) => n.name === "path" && hasClass(n, "line")).map((n) => n.attributes.get("d")!);
    expect(lines.at(-1)!.match(/M/g)).toHaveLength(2);
    expect(lines.at(-1)).not.toContain("L");
    expect(findAll(root, (n) => hasClass(n, "range"))).toHaveLength(6);
  });
});

describe("histogram", () => {
  const edges = [0, 1, 2, 4, 8];
  const heights = (svg: string): number[] => {
    const d = findAll(open(svg), (n) => hasClass(n, "area"))[0]!.attributes.get("d")!;
    const [base, ...levels] = [...d.matchAll(/(?:M[\d.]+ |V)([\d.]+)/g)].map((m) => Number(m[1]));
    return levels.slice(0, -1).map((y) => base! - y);
  };

  test("heights are to one another as the counts are", () => {
    const [a, b, c, d] = heights(histogram({ title: "t", edges, series: [{ name: "a", counts: [10, 20, 0, 40] }] }));
    expect(b! / a!).toBeCloseTo(2, 1);
    expect(c).toBe(0);
    expect(d! / a!).toBeCloseTo(4, 1);
  });

  test("on a logarithmic axis a power of ten is always the same height", () => {
    const [a, b, c] = heights(
      histogram({
        title: "t",
        edges: [1, 2, 3, 4],
        series: [{ name: "a", counts: [10, 100, 1000] }],
        y: { kind: "log", from: 1 },
      }),
    );
    expect(b! - a!).toBeCloseTo(c! - b!, 1);
    expect(a).toBeGreaterThan(0);
  });
});

describe("barChart", () => {
  test("lengths are to one another as the values are, from zero to either side", () => {
    const root = open(
      barChart({ title: "t", categories: ["a", "b", "c"], series: [{ name: "s", values: [1, -0.5, null] }] }),
    );
    const [a, b, ...more] = findAll(root, (n) => n.name === "rect");
    expect(more).toEqual([]);
    expect(numberOf(b!, "width") / numberOf(a!, "width")).toBeCloseTo(0.5, 1);
    expect(numberOf(b!, "x") + numberOf(b!, "width")).toBeCloseTo(numberOf(a!, "x"), 1);
    expect(texts(root)).toEqual(expect.arrayContaining(["1", "−0.5", "–"]));
  });
});

describe("numbers", () => {
  test("as they are written", () => {
    const rows: [string, string][] = [
      [formatNumber(0.25), "0.25"],
      [formatNumber(-0), "0"],
      [formatNumber(1234567), "1,235,000"],
      [formatNumber(-1.5e-7), "−1.5e−7"],
      [formatNumber(2.5e9), "2.5e9"],
      [formatNumber(null), "–"],
      [formatNumber(Number.NEGATIVE_INFINITY), "−∞"],
      [formatTick(0.30000000000000004, 0.1), "0.3"],
      [formatTick(2, 0.5), "2.0"],
      [formatTick(-0.0000001, 0.5), "0.0"],
      [formatTick(20000, 5000), "20,000"],
    ];
    for (const [found, expected] of rows) expect(found).toBe(expected);
  });

  test("decimal exponents are exact at every power of ten of a double", () => {
    for (let e = -307; e <= 308; e++) expect(decimalExponent(Number(`1e${e}`))).toBe(e);
    expect(decimalExponent(9.999)).toBe(0);
    expect(decimalExponent(-0.01)).toBe(-2);
  });

  test("steps are 1, 2 or 5 times a power of ten, and no more ticks than asked", () => {
    for (const span of [1e-9, 0.003, 0.7, 1, 7, 123, 9e12]) {
      for (const count of [2, 5, 9]) {
        const step = niceStep(span, count);
        expect([1, 2, 5]).toContain(Math.round(step / Number(`1e${decimalExponent(step * 1.0000001)}`)));
        expect(span / step).toBeLessThanOrEqual(count * 1.0001);
      }
    }
  });

  test("scales are monotone and keep to their ends", () => {
    for (const scale of [
      linearScale(-3, 12, 100, 0),
      logScale(1e-6, 40, 0, 300, { nice: true }),
      linearScale(5, 5, 0, 10),
    ]) {
      const [low, high] = scale.domain;
      const [a, b] = [scale.at(low), scale.at(high)];
      let before = a;
      for (let i = 1; i <= 50; i++) {
        const at = scale.at(low + ((high - low) * i) / 50);
        expect((at - before) * (b - a)).toBeGreaterThan(0);
        before = at;
      }
      expect(scale.at(high + 1000)).toBe(b);
      expect(scale.ticks.every((t) => t >= low - 1e-9 && t <= high + 1e-9)).toBe(true);
    }
  });
});

test("labels are cut in the middle, and stay within their room", () => {
  const name = "organisation/model-with-a-long-name-7B-Instruct-v0.3";
  const cut = shorten(name, 150);
  expect(textWidth(cut)).toBeLessThanOrEqual(150);
  expect(cut.startsWith("organi")).toBe(true);
  expect(cut.endsWith("v0.3")).toBe(true);
  expect(shorten("short", 150)).toBe("short");
  expect(textWidth(shorten("語".repeat(3000), 150))).toBeLessThanOrEqual(150);
});

test("escaping writes what it hides, and keeps lines where it is asked to", () => {
  expect(escapeText("a\u202eb\n<&>")).toBe("a\\u{202e}b\\u{a}&lt;&amp;&gt;");
  expect(escapeText("a\n\tb", true)).toBe("a\n\tb");
});

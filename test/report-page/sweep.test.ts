// The page on a sweep: its lines, its table and its refusals.

import { describe, expect, test } from "bun:test";
import { isBraidError } from "../../src/errors.ts";
import { parseSweep, type Sweep } from "../../src/report-page/sweep-file.ts";
import { sweepLines, sweepPage } from "../../src/report-page/sweep-page.ts";
import { findAll, parseXml } from "../svg/xml.ts";

const rates = ["0.5", "0.9", "0.99"];

function sweepOf(axes: Sweep["axes"], scores: (values: Record<string, string>) => Record<string, number>): Sweep {
  let grid: Record<string, string>[] = [{}];
  for (const axis of axes)
    grid = grid.flatMap((point) => axis.values.map((value) => ({ ...point, [axis.name]: value })));
  const points = grid.map((values) => {
    const each = scores(values);
    const list = Object.values(each);
    return {
      values,
      scores: each,
      score: list.reduce((a, b) => a + b, 0) / list.length,
      planSha256: "a".repeat(64),
      files: [{ name: "model.safetensors", byteLength: 10, sha256: "b".repeat(64) }],
      mergeSeconds: 0.5,
      evalSeconds: 2,
      known: false,
    };
  });
  const best = points.reduce((top, point, i) => (point.score > points[top]!.score ? i : top), 0);
  return {
    format: "braid-sweep-1",
    recipe: `r"><script>.yml`,
    evaluator: "exact match",
    lowest: false,
    by: null,
    axes,
    points,
    best,
    surveys: { shared: 4, run: 2 },
  };
}

const bodyOf = (html: string) => parseXml(/<body>[\s\S]*<\/body>/.exec(html)![0].replaceAll("<wbr>", ""));

describe("the page on a sweep", () => {
  const one = sweepOf([{ name: "drop_rate", values: rates }], ({ drop_rate }) => ({
    add: 1 - Number(drop_rate) / 2,
    sort: Number(drop_rate) / 4,
  }));

  test("draws a line for each score and their mean where one number varies", () => {
    const lines = sweepLines(one, one.axes[0]!);
    expect(lines.map((l) => l.name)).toEqual(["add", "sort", "mean"]);
    expect(lines[0]!.points.map((p) => p.x)).toEqual([0.5, 0.9, 0.99]);
    const body = bodyOf(sweepPage(one));
    const [chart] = findAll(body, (n) => n.name === "svg");
    expect(findAll(chart!, (n) => n.attributes.get("class") === "mark" && n.children.length > 0)).toHaveLength(9);
  });

  test("has a row for each point, and names the best", () => {
    const body = bodyOf(sweepPage(one));
    const rows = findAll(findAll(body, (n) => n.name === "tbody").at(-1)!, (n) => n.name === "tr");
    expect(rows).toHaveLength(3);
    expect(findAll(rows[one.best]!, (n) => n.name === "strong").map((n) => n.text)).toEqual(["best"]);
    expect(findAll(body, (n) => n.name === "script")).toEqual([]);
    expect(findAll(body, (n) => n.name === "bdi")[0]!.text).toBe(`r"><script>.yml`);
  });

  test("draws a line for each combination of the others where several things vary", () => {
    const two = sweepOf(
      [
        { name: "method", values: ["ties", "dare_ties"] },
        { name: "drop_rate", values: rates },
      ],
      ({ drop_rate }) => ({ add: Number(drop_rate) }),
    );
    expect(sweepLines(two, two.axes[1]!).map((l) => [l.name, l.points.length])).toEqual([
      ["method=ties", 3],
      ["method=dare_ties", 3],
    ]);
  });

  test("draws a map of two parameters that have too many lines", () => {
    const seeds = Array.from({ length: 12 }, (_, i) => String(i));
    const map = sweepOf(
      [
        { name: "drop_rate", values: seeds.map((_, i) => String(i / 12)) },
        { name: "seed", values: seeds },
      ],
      ({ drop_rate, seed }) => ({ add: Number(drop_rate) + Number(seed) }),
    );
    const [svg] = findAll(bodyOf(sweepPage(map)), (n) => n.name === "svg");
    expect(findAll(svg!, (n) => n.name === "rect" && n.children[0]?.name === "title")).toHaveLength(144);
  });

  test("has no chart where nothing is a number, and the table all the same", () => {
    const words = sweepOf([{ name: "method", values: ["ties", "linear"] }], () => ({ add: 0.5 }));
    const body = bodyOf(sweepPage(words));
    expect(findAll(body, (n) => n.name === "svg")).toEqual([]);
    expect(findAll(body, (n) => n.name === "table").length).toBeGreaterThan(0);
  });

  test("is read from what it is, and nothing else", () => {
    expect(parseSweep(JSON.stringify(one), "sweep.json")).toEqual(one);
    const bad: [unknown, RegExp][] = [
      [{}, /format: /],
      [{ ...one, points: [] }, /points: /],
      [{ ...one, best: 9 }, /best: 9 is not one of its 3 points/],
      [{ ...one, points: [{ ...one.points[0], score: "1" }] }, /points\.0\.score: /],
    ];
    for (const [value, message] of bad) {
      let caught: unknown;
      try {
        parseSweep(JSON.stringify(value), "x/sweep.json");
      } catch (e) {
        caught = e;
      }
      expect(isBraidError(caught) && caught.kind).toBe("manifest");
      expect((caught as Error).message).toMatch(message);
      expect((caught as Error).message).toContain('"x/sweep.json"');
    }
  });
});

// The report on a sweep: what was tried, how it scored, and what was best.

import { formatSeconds, plural } from "../format.ts";
import { formatNumber, heatMap, lineChart } from "../svg/index.ts";
import { type Content, code, figure, htmlDocument, name, p, type Section, table, tag } from "./html.ts";
import { chartWidth } from "./names.ts";
import { pageStyle } from "./style.ts";
import type { Sweep } from "./sweep-file.ts";

type Axis = Sweep["axes"][number];
type Point = Sweep["points"][number];

/** More lines than this in one chart cannot be told apart. */
const mostLines = 8;

const isNumber = (value: string) => value.trim() !== "" && Number.isFinite(Number(value));
const isNumeric = (axis: Axis) => axis.values.length > 1 && axis.values.every(isNumber);

/** The axis along the chart: the numeric one of the most values. */
function mainAxis(axes: readonly Axis[]): Axis | null {
  return axes.filter(isNumeric).reduce<Axis | null>((a, b) => (a && a.values.length >= b.values.length ? a : b), null);
}

function scoreNames({ points }: Sweep): string[] {
  return [...new Set(points.flatMap((point) => Object.keys(point.scores)))];
}

/** What the sweep goes by: a score of its own, or the mean of several. */
function decidingName(sweep: Sweep): string {
  const names = scoreNames(sweep);
  return sweep.by ?? (names.length === 1 ? names[0]! : "mean of the scores");
}

const valuesText = (values: Point["values"], axes: readonly Axis[]) =>
  axes.map((axis) => `${axis.name}=${values[axis.name] ?? ""}`).join(" ");

/** A line for each score where one thing varies; for each combination of the others where several do. */
export function sweepLines(sweep: Sweep, along: Axis): { name: string; points: { x: number; y: number | null }[] }[] {
  const others = sweep.axes.filter((axis) => axis !== along);
  const x = (point: Point) => Number(point.values[along.name]);
  if (others.length === 0) {
    const names = scoreNames(sweep);
    const each = names.map((name) => ({
      name,
      points: sweep.points.map((point) => ({ x: x(point), y: point.scores[name] ?? null })),
    }));
    const mean = { name: "mean", points: sweep.points.map((point) => ({ x: x(point), y: point.score })) };
    return names.length > 1 ? [...each, mean] : each;
  }
  const lines = new Map<string, { x: number; y: number | null }[]>();
  for (const point of sweep.points) {
    const key = valuesText(point.values, others);
    lines.set(key, [...(lines.get(key) ?? []), { x: x(point), y: point.score }]);
  }
  return [...lines].map(([name, points]) => ({ name, points }));
}

function chart(sweep: Sweep): Content {
  const along = mainAxis(sweep.axes);
  if (!along) return null;
  const lines = sweepLines(sweep, along);
  const [, second] = [along, ...sweep.axes.filter((axis) => axis !== along)];
  const deciding = decidingName(sweep);
  if (lines.length <= mostLines) {
    const title = `Score by ${along.name}`;
    return figure(
      title,
      lineChart({
        title,
        description: `${sweep.points.length} points.`,
        series: lines,
        x: { label: along.name, kind: "even" },
        y: { label: sweep.axes.length > 1 ? deciding : "score" },
        width: chartWidth,
      }),
      "Values have the same distance from one another, whatever lies between them.",
    );
  }
  if (!second || sweep.axes.length > 2) return null;
  const scores = sweep.points.map((point) => point.score);
  const title = `${deciding} by ${second.name} and ${along.name}`;
  const at = (row: string, column: string) =>
    sweep.points.find((point) => point.values[second.name] === row && point.values[along.name] === column)?.score ??
    null;
  return figure(
    title,
    heatMap({
      title,
      description: `${sweep.points.length} points.`,
      rows: second.values,
      columns: along.values,
      columnsLabel: along.name,
      values: second.values.map((row) => along.values.map((column) => at(row, column))),
      scale: { from: Math.min(...scores), to: Math.max(...scores), label: "score" },
      numbers: true,
      width: chartWidth,
    }),
    "Darker is a higher score.",
  );
}

function pointTable(sweep: Sweep): Content {
  const names = scoreNames(sweep);
  const score = (x: number | undefined) => formatNumber(x ?? null, 4);
  return table({
    caption: "All points",
    columns: [
      ...sweep.axes.map((axis) => ({ title: name(axis.name), number: isNumeric(axis) })),
      ...names.map((n) => ({ title: name(n), number: true })),
      ...(names.length > 1 ? [{ title: "Mean", number: true }] : []),
      { title: "Merge", number: true },
      { title: "Scoring", number: true },
      { title: "Remark" },
    ],
    rows: sweep.points.map((point, i) => [
      ...sweep.axes.map((axis) =>
        isNumeric(axis) ? (point.values[axis.name] ?? "–") : name(point.values[axis.name] ?? "–"),
      ),
      ...names.map((n) => score(point.scores[n])),
      ...(names.length > 1 ? [score(point.score)] : []),
      formatSeconds(point.mergeSeconds),
      formatSeconds(point.evalSeconds),
      [
        i === sweep.best ? tag("strong", {}, "best") : "",
        i === sweep.best && point.known ? ", " : "",
        point.known ? "known" : "",
      ],
    ]),
  });
}

export function sweepPage(sweep: Sweep): string {
  const best = sweep.points[sweep.best]!;
  const { shared, run } = sweep.surveys;
  const spent = sweep.points.reduce((sum, point) => sum + point.mergeSeconds + point.evalSeconds, 0);
  const tiles: [string, Content][] = [
    ["Points", String(sweep.points.length)],
    ["Best score", formatNumber(best.score, 4)],
    ["Merging and scoring", formatSeconds(spent)],
  ];
  const hashed = best.files.filter((f) => f.sha256 !== null);
  const sections: Section[] = [
    {
      id: "best",
      title: "Best",
      body: [
        p(
          code(valuesText(best.values, sweep.axes)),
          ` scores ${formatNumber(best.score, 5)} (${decidingName(sweep)}; the ${sweep.lowest ? "lowest" : "highest"} is best).`,
        ),
        p(
          "A grid that is scored on what it is chosen by flatters its winner: score the best once more on what it has not seen.",
        ),
        hashed.length > 0
          ? table({
              caption: "Files of the best point",
              columns: [{ title: "File" }, { title: "SHA-256" }],
              rows: hashed.map((f) => [name(f.name), tag("code", { class: "hash" }, f.sha256)]),
            })
          : null,
      ],
    },
    { id: "scores", title: "Scores", body: [chart(sweep), pointTable(sweep)] },
    {
      id: "how",
      title: "How it was scored",
      body: [
        p("Evaluation: ", code(sweep.evaluator)),
        shared > 0 ? p(`${plural(shared, "survey")} of ${shared + run} shared between points.`) : null,
      ],
    },
  ];
  return htmlDocument({
    title: `Sweep of ${sweep.recipe} · Braid report`,
    style: pageStyle,
    header: [
      tag("h1", {}, "Sweep of ", tag("bdi", {}, sweep.recipe)),
      tag(
        "p",
        { class: "lead" },
        `${plural(sweep.axes.length, "parameter")} over ${plural(sweep.points.length, "point")}`,
      ),
      tag(
        "dl",
        { class: "tiles" },
        tiles.map(([term, value]) => tag("div", {}, tag("dt", {}, term), tag("dd", {}, value))),
      ),
    ],
    sections,
    footer: p("This page holds no script and loads nothing. Known points were found by an earlier run."),
  });
}

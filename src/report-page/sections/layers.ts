// Where in the model the changes are: depth from left to right, a row a kind of tensor.

import { formatCount } from "../../format.ts";
import { formatNumber, formatPercent, heatMap, lineChart, niceStep } from "../../svg/index.ts";
import type { Absorbed, Comparison, ReportFacts } from "../facts.ts";
import { take } from "../facts.ts";
import { type Content, code, details, figure, gallery, type Html, name, p, type Section, table, tag } from "../html.ts";
import { type Grid, layerGrids, type Measure, meanConflict, rangeOf, ratioOf, unchangedOf } from "../layer-grid.ts";
import { chartWidth, halfWidth, inputIndices, modelNames, outputName } from "../names.ts";

/** Ratios that span more than this are shown on a logarithmic scale. */
const logSpan = 30;
/** What is smaller than the largest by more than this has the faintest colour. */
const longestSpan = 1000;
/** Rows of the table of all tensors. */
const tensorRows = 2000;

type Scale = Parameters<typeof heatMap>[0]["scale"];

function draw(
  grids: readonly Grid[],
  title: string,
  caption: Content,
  scale: Scale,
  format: (value: number) => string,
) {
  return grids.map((grid) => {
    const full = grid.stack === "" || grids.length === 1 ? title : `${title}: ${grid.stack}`;
    const svg = heatMap({
      title: full,
      description: `A cell for each of ${grid.layers.length} layers and ${grid.kinds.length} kinds of tensor.`,
      rows: grid.kinds,
      columns: grid.layers.map(String),
      columnsLabel: "layer",
      values: grid.values,
      scale,
      format,
      width: isShallow(grid) ? halfWidth : chartWidth,
    });
    return figure(full, svg, caption);
  });
}

/** Whether its map fits twice beside itself. */
const isShallow = (grid: Grid) => grid.layers.length <= 24;

/** Maps of few layers side by side, others one below the other. */
const arrange = (maps: readonly Html[], grids: readonly Grid[]): Content =>
  grids.every(isShallow) ? gallery(maps) : maps;

function ratioScale(range: { least: number; most: number }): Scale {
  const label = "‖δ‖ ∕ ‖base‖";
  const { least, most } = range;
  if (least > 0 && most / least > logSpan)
    return { from: Math.max(least, most / longestSpan), to: most, kind: "log", label: `${label}, logarithmic` };
  return { from: 0, to: most > 0 ? most : 1, label };
}

function absorbedOf(absorbed: Absorbed): Measure {
  const byName = new Map(absorbed.tensors.map((t) => [t.name, t]));
  return (tensors) => {
    let [lost, changed] = [0, 0];
    for (const t of tensors) {
      lost += byName.get(t.name)?.absorbed ?? 0;
      changed += byName.get(t.name)?.changed ?? 0;
    }
    return changed > 0 ? lost / changed : null;
  };
}

function depthChart(comparison: Comparison): Content {
  const { analysis } = comparison;
  const names = modelNames(comparison);
  const stacks = [...new Set(analysis.layers.map((l) => l.stack))];
  return stacks.map((stack) => {
    const layers = analysis.layers.filter((l) => l.stack === stack);
    if (layers.length < 2) return null;
    const title = stacks.length === 1 ? "Delta by depth" : `Delta by depth: ${stack}`;
    const series = names.map((name, i) => ({
      name,
      points: layers.map((l) => ({ x: l.layer, y: l.models[i]?.ratio ?? null })),
    }));
    const step = Math.max(1, niceStep(layers.at(-1)!.layer - layers[0]!.layer, 10));
    const integers = { ticks: layers.map((l) => l.layer).filter((layer) => layer % step === 0), format: String };
    return figure(
      title,
      lineChart({
        title,
        description: `Norms of the deltas of ${names.length} models over ${layers.length} layers.`,
        series,
        x: { label: "layer", ...integers },
        y: { label: "‖δ‖ ∕ ‖base‖", from: 0 },
        width: chartWidth,
        height: 300,
      }),
      "The norm of all that a model changes in a layer, against the norm of that layer in the base.",
    );
  });
}

function outside(comparison: Comparison): Content {
  const { analysis } = comparison;
  const names = modelNames(comparison);
  const rest = analysis.tensors.filter((t) => t.layer === null);
  if (rest.length === 0) return null;
  return table({
    caption: "Tensors outside of layers: ‖δ‖ ∕ ‖base‖",
    columns: [{ title: "Tensor" }, { title: "Kind" }, ...names.map((n) => ({ title: name(n), number: true }))],
    rows: rest
      .slice(0, 60)
      .map((t) => [name(t.name), t.kind, ...names.map((_, i) => formatNumber(t.models[i]?.ratio ?? null, 3))]),
  });
}

function allTensors(comparison: Comparison): Content {
  const { analysis, output } = comparison;
  const names = modelNames(comparison);
  const inputs = inputIndices(comparison);
  const conflict = meanConflict(inputs);
  const { tensors } = analysis;
  const rows = tensors
    .slice(0, tensorRows)
    .map((t): Content[] => [
      name(t.name),
      t.shape.join(" × ") || "scalar",
      ...names.map((_, i) => formatNumber(t.models[i]?.ratio ?? null, 3)),
      ...(inputs.length > 1 ? [formatPercent(conflict([t]))] : []),
      formatPercent(unchangedOf(output)([t])),
    ]);
  return details(
    `All tensors (${formatCount(tensors.length)})`,
    table({
      caption:
        "‖δ‖ ∕ ‖base‖ of every model, sign conflict between those that went in, and what the output leaves as it was",
      columns: [
        { title: "Tensor" },
        { title: "Shape" },
        ...names.map((n) => ({ title: name(n), number: true })),
        ...(inputs.length > 1 ? [{ title: "Conflict", number: true }] : []),
        { title: "Unchanged", number: true },
      ],
      rows,
    }),
    tensors.length > tensorRows ? p(`… and ${formatCount(tensors.length - tensorRows)} more.`) : null,
  );
}

export function layersSection(facts: ReportFacts): Section {
  const id = "layers";
  const title = "Layer by layer";
  if ("missing" in facts.comparison) return { id, title, body: p(facts.comparison.missing) };
  const comparison = facts.comparison.found;
  const { analysis, output } = comparison;
  const inputs = inputIndices(comparison);
  const names = modelNames(comparison);
  const ratios = names.map((_, i) => layerGrids(analysis, ratioOf(i)));
  const range = rangeOf(ratios.flat());
  if (!range)
    return {
      id,
      title,
      body: [p("No tensor of these models belongs to a numbered layer."), outside(comparison), allTensors(comparison)],
    };
  const scale = ratioScale(range);
  const number = (value: number) => formatNumber(value, 3);
  const share = (value: number) => formatPercent(value, 3);
  const from = comparison.standIn ? `the first model, ${analysis.base}, for want of a base` : "the base";
  const maps = names.flatMap((who, i) =>
    draw(
      ratios[i]!,
      `Delta of ${who}`,
      i === output
        ? `How far the merged weights are from ${from}, on the scale of the models above.`
        : `How far this model is from ${from}: the norm of its delta against the norm of the tensor.`,
      scale,
      number,
    ),
  );
  const conflicts = layerGrids(analysis, meanConflict(inputs));
  const conflictRange = inputs.length > 1 ? rangeOf(conflicts) : null;
  const absorbed = take(facts.absorbed);
  const lost = absorbed ? layerGrids(analysis, absorbedOf(absorbed)) : [];
  const lostRange = rangeOf(lost);
  const unchanged = layerGrids(analysis, unchangedOf(output));
  const others: Html[] = [
    ...(conflictRange
      ? draw(
          conflicts,
          "Sign conflict between the models",
          "Of the elements that two models both change, the share that they move in opposite directions, over all pairs. Deltas that have nothing to do with one another conflict in one half.",
          { from: 0, to: Math.max(0.5, conflictRange.most), label: "share in conflict" },
          share,
        )
      : []),
    ...draw(
      unchanged,
      `What the ${outputName} leaves as it was`,
      "The share of elements that are exactly those of the base: not changed by any model, dropped, cancelled, or taken back by rounding.",
      { from: 0, to: 1, label: "share unchanged" },
      share,
    ),
    ...(lostRange && lostRange.most > 0
      ? draw(
          lost,
          "Changes lost to rounding",
          "Of the elements that the merge changed, the share that is the base's again once it is stored.",
          { from: 0, to: Math.max(lostRange.most, 0.01), label: "share lost" },
          share,
        )
      : []),
  ];
  return {
    id,
    title,
    body: [
      p(
        "Every cell is a layer and a kind of tensor; several tensors of one kind in a layer (its two norms, the experts of a mixture) count as one. Point at a cell for its number, or open the table of all tensors below.",
      ),
      depthChart(comparison),
      arrange(maps.concat(others), ratios.flat()),
      outside(comparison),
      allTensors(comparison),
      tag("p", { class: "muted" }, "What the measures are: ", code("docs/analyze.md"), "."),
    ],
  };
}

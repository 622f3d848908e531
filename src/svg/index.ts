// Charts as SVG text: no DOM, no script, no fonts of their own, the same bytes in every engine.
//
// A page puts `chartColours(":root")` and `chartRules` into its style sheet and the charts into its body; a chart as a file of
// its own goes through `standalone`.

export type { Axis } from "./axis.ts";
export { type BarChart, barChart } from "./bar-chart.ts";
export { type HeatMap, heatMap } from "./heat-map.ts";
export { type Histogram, histogram } from "./histogram.ts";
export { type LineChart, lineChart } from "./line-chart.ts";
export { element, escapeText } from "./markup.ts";
export { formatNumber, formatPercent } from "./numbers.ts";
export { type PictureText, standalone } from "./picture.ts";
export { niceStep } from "./scale.ts";
export { chartColours, chartRules } from "./theme.ts";

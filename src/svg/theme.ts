// Colours and type of charts, as CSS. A page says it once; a picture on its own carries it inside. Every colour is a custom
// property that the page around may set.

/** Series are told apart by colour, dash and mark, so that they can be printed in black; after six the colours begin again. */
export const seriesColours = 6;

const light = {
  "chart-text": "#1d2430",
  "chart-muted": "#566072",
  "chart-grid": "#dfe3ea",
  "chart-surface": "#ffffff",
  "chart-heat": "#12409b",
  "chart-heat-negative": "#a63a0b",
  "chart-on-heat": "#ffffff",
  "chart-1": "#1b5fc1",
  "chart-2": "#b8480f",
  "chart-3": "#0b7a55",
  "chart-4": "#8a3fb0",
  "chart-5": "#8a6400",
  "chart-6": "#5a6475",
};

const dark: typeof light = {
  "chart-text": "#e6eaf1",
  "chart-muted": "#a4aebd",
  "chart-grid": "#333b48",
  "chart-surface": "#12161d",
  "chart-heat": "#8cb8ff",
  "chart-heat-negative": "#ff9d66",
  "chart-on-heat": "#0b0f16",
  "chart-1": "#7fb2ff",
  "chart-2": "#ff9d66",
  "chart-3": "#5fd0a2",
  "chart-4": "#d3a3f5",
  "chart-5": "#e3bd55",
  "chart-6": "#b4bdcb",
};

function properties(colours: typeof light): string {
  return Object.entries(colours)
    .map(([name, value]) => `--${name}:${value}`)
    .join(";");
}

const series = Array.from(
  { length: seriesColours },
  (_, i) => `.chart .s${i + 1}{--series:var(--chart-${i + 1})}`,
).join("\n");

/** The colours of dark and light, for the selector that carries them. Paper is always light. */
export function chartColours(selector: string): string {
  return `${selector}{${properties(light)}}
@media screen and (prefers-color-scheme:dark){${selector}{${properties(dark)}}}`;
}

/** The rules of every chart; they need the properties of `chartColours` around them. */
export const chartRules = `.chart{color:var(--chart-text);font-family:system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums;print-color-adjust:exact;-webkit-print-color-adjust:exact}
.chart text{fill:var(--chart-text);font-size:11px}
.chart .muted{fill:var(--chart-muted)}
.chart .grid{stroke:var(--chart-grid);stroke-width:1;fill:none}
.chart .axis{stroke:var(--chart-muted);stroke-width:1;fill:none}
.chart .line{fill:none;stroke:var(--series);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.chart .range{fill:none;stroke:var(--series);stroke-width:1}
.chart .mark{fill:var(--series);stroke:var(--chart-surface);stroke-width:1}
.chart .bar{fill:var(--series)}
.chart .area{fill:var(--series);fill-opacity:.18}
.chart .heat{fill:var(--chart-heat)}
.chart .negative{fill:var(--chart-heat-negative)}
.chart .missing{fill:none;stroke:var(--chart-grid);stroke-width:1}
.chart .frame{fill:none;stroke:var(--chart-grid);stroke-width:1}
.chart .on-heat{fill:var(--chart-on-heat)}
${series}`;

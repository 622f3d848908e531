// How a report looks: light and dark, on a wide screen, a narrow one and paper.

import { chartColours, chartRules } from "../svg/index.ts";

const light = `--ground:#ffffff;--raised:#f5f7fa;--text:#1d2430;--muted:#566072;--rule:#dfe3ea;--link:#1b5fc1;--warn:#8a4b00;--warn-ground:#fff5e5;--good:#0b6b4a;--key:#8a3fb0;--value:#0b6b4a;--remark:#5d6778`;
const dark = `--ground:#12161d;--raised:#1a202a;--text:#e6eaf1;--muted:#a4aebd;--rule:#333b48;--link:#8cb8ff;--warn:#ffc27a;--warn-ground:#2c2213;--good:#6fd6ab;--key:#d9b0f7;--value:#7fdcb4;--remark:#9aa5b5`;

export const pageStyle = `:root{color-scheme:light dark;${light}}
@media screen and (prefers-color-scheme:dark){:root{${dark}}}
${chartColours(":root")}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 1.5rem 4rem;max-width:54rem;background:var(--ground);color:var(--text);font:1rem/1.55 system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
h1{font-size:2rem;line-height:1.2;margin:0 0 .25rem;letter-spacing:-.015em}
h2{font-size:1.35rem;line-height:1.25;margin:3rem 0 .75rem;padding-top:1rem;border-top:1px solid var(--rule);letter-spacing:-.01em}
h3{font-size:1.05rem;line-height:1.3;margin:1.75rem 0 .5rem}
p,ul,ol{margin:.6rem 0;max-width:46rem}
.lead{font-size:1.1rem;color:var(--muted);margin:.25rem 0 1.5rem}
a{color:var(--link)}
a:focus-visible,summary:focus-visible,.scroll:focus-visible{outline:2px solid var(--link);outline-offset:2px}
code,pre,.hash{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.875em}
.muted{color:var(--muted)}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.1rem;list-style:none;margin:1rem 0 0;padding:0;max-width:none;font-size:.925rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(7.5rem,1fr));gap:1px;margin:1.25rem 0;padding:0;background:var(--raised);border:1px solid var(--rule);border-radius:.4rem;overflow:hidden}
.tiles div{padding:.7rem .9rem;box-shadow:0 0 0 1px var(--rule)}
.tiles dt{font-size:.8rem;color:var(--muted)}
.tiles dd{margin:.1rem 0 0;font-size:1.2rem;font-weight:600;line-height:1.25}
.notes{list-style:none;padding:0;max-width:none}
.notes li{margin:.4rem 0;padding:.55rem .9rem;border-left:4px solid var(--rule);background:var(--raised);border-radius:0 .3rem .3rem 0}
.notes li.warning{border-color:var(--warn);background:var(--warn-ground)}
.notes strong.warning{color:var(--warn)}
.facts{margin:.75rem 0}
.facts div{display:grid;grid-template-columns:minmax(8rem,12rem) minmax(0,1fr);gap:.25rem 1rem;padding:.3rem 0;border-bottom:1px solid var(--rule)}
.facts dt{color:var(--muted)}
.facts dd{margin:0}
pre{background:var(--raised);border:1px solid var(--rule);border-radius:.4rem;padding:.9rem 1rem;margin:.75rem 0;overflow-x:auto;line-height:1.5;overflow-wrap:normal}
pre .key{color:var(--key)}
pre .value{color:var(--value)}
pre .remark{color:var(--remark);font-style:italic}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;width:100%;margin:.75rem 0;font-size:.875rem}
caption{text-align:left;font-weight:600;padding:.25rem 0 .4rem}
th,td{text-align:left;vertical-align:top;padding:.35rem .65rem .35rem 0;border-bottom:1px solid var(--rule);overflow-wrap:normal;word-break:normal}
thead th{color:var(--muted);font-weight:500;font-size:.8rem;vertical-align:bottom;border-bottom-color:var(--muted)}
tbody th{font-weight:500}
th.number,td.number{text-align:right;white-space:nowrap}
th:last-child,td:last-child{padding-right:0}
td .name,tbody th .name{display:inline-block;min-width:9rem;overflow-wrap:break-word}
thead .name{display:inline-block;min-width:5.5rem;max-width:10rem;white-space:normal}
td .hash{display:inline-block;min-width:11rem;overflow-wrap:anywhere}
figure{margin:1.75rem 0}
figcaption{font-size:.9rem;color:var(--muted);margin-bottom:.6rem;max-width:46rem}
figcaption strong{display:block;color:var(--text);font-size:1rem}
.chart{display:block;max-width:100%;height:auto}
.gallery{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(21rem,100%),1fr));gap:.5rem 2rem}
.gallery figure{margin:.75rem 0}
details{margin:.75rem 0;border:1px solid var(--rule);border-radius:.4rem;padding:0 .9rem}
summary{cursor:pointer;padding:.55rem 0;font-weight:500}
details[open]>summary{border-bottom:1px solid var(--rule)}
footer{margin-top:3rem;padding-top:1rem;border-top:1px solid var(--rule);font-size:.875rem;color:var(--muted)}
${chartRules}
@media (max-width:45rem){
body{padding:1.25rem 1rem 3rem}
h1{font-size:1.6rem}
h2{font-size:1.2rem;margin-top:2.25rem}
.facts div{grid-template-columns:1fr;gap:0}
.scroll .chart{max-width:none}
.scroll .small{max-width:100%}
}
@media print{
@page{margin:16mm 14mm}
body{max-width:none;padding:0;font-size:10pt}
h1{font-size:20pt}
h2{font-size:14pt;margin-top:1.4rem;break-after:avoid}
h3{font-size:11pt;break-after:avoid}
nav{display:none}
a{color:inherit;text-decoration:none}
.scroll{overflow:visible}
pre{white-space:pre-wrap;overflow-wrap:anywhere}
figure,.tiles,.notes li,tr,.facts div,table.short{break-inside:avoid}
caption,thead{break-after:avoid}
thead{display:table-header-group}
.tiles{grid-auto-flow:column;grid-auto-columns:1fr;grid-template-columns:none}
footer{margin-top:1rem}
table{font-size:8.5pt}
details:not([open]){display:none}
}`;

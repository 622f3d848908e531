// npx bun bench/scale/main.ts [--model 8B|70B] [--curves a,b] [--nodes 1,10,100,1000] [--again]
//
// Simulates merges by many nodes (simulate.ts), keeps the outcomes in bench/results/scale.json, and draws docs/scale.svg of them. An
// outcome depends on its scene and seed only, so what is in the file is not simulated again unless asked for.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { lineChart, standalone } from "../../src/svg/index.ts";
import { llamas } from "./models.ts";
import { type Outcome, type Scene, simulate } from "./simulate.ts";

const { values: options } = parseArgs({
  options: {
    model: { type: "string", default: "8B" },
    curves: { type: "string", default: "" },
    nodes: { type: "string", default: "1,10,100,1000" },
    again: { type: "boolean", default: false },
  },
});

const gigabit = 1.25e8;

/** Nodes of two cores and 1 Gbit/s; DARE-TIES of three fine-tunes at the rate of bench/results (Bun, bare), or DELLA's. */
const common = {
  nodeRate: gigabit,
  nodeCores: 2,
  elementNs: 10.36,
  latencyMs: 10,
  spread: 0.2,
  seed: 1,
  compute: false,
};

export const curves: Readonly<Record<string, Omit<Scene, "model" | "nodes">>> = {
  "placed, 10 Gbit/s": { ...common, bytes: "placed", coordinatorRate: 10 * gigabit },
  "read, 10 Gbit/s": { ...common, bytes: "read", coordinatorRate: 10 * gigabit },
  "read, 1 Gbit/s": { ...common, bytes: "read", coordinatorRate: gigabit },
  "sent, 10 Gbit/s": { ...common, bytes: "sent", coordinatorRate: 10 * gigabit },
  "placed, 10 Gbit/s, DELLA": { ...common, bytes: "placed", coordinatorRate: 10 * gigabit, elementNs: 37.03 },
};

const root = resolve(import.meta.dirname, "../..");
const file = join(root, "bench/results/scale.json");
type Kept = Record<string, Record<string, Record<string, Outcome>>>;
const kept: Kept = existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as Kept) : {};

const model = options.model as keyof typeof llamas;
if (!Object.hasOwn(llamas, model)) throw new Error(`--model must be one of ${Object.keys(llamas).join(", ")}`);
const wanted = options.curves === "" ? Object.keys(curves) : options.curves.split(";").map((name) => name.trim());
for (const name of wanted) {
  const scene = curves[name];
  if (!scene) throw new Error(`--curves, separated by semicolons, are: ${Object.keys(curves).join("; ")}`);
  for (const nodes of options.nodes.split(",")) {
    kept[model] ??= {};
    kept[model][name] ??= {};
    const points = kept[model][name];
    if (!points[nodes] || options.again) {
      points[nodes] = await simulate({ ...scene, model: llamas[model], nodes: Number(nodes) });
      writeFileSync(file, `${JSON.stringify(kept, null, 1)}\n`);
    }
    const o = points[nodes];
    const percent = (share: number) => `${(100 * share).toFixed(0)} %`.padStart(5);
    const busy = [o.busy.thread, o.busy.down, o.busy.up, o.busy.nodes].map(percent).join(" ");
    console.log(`${model}  ${name.padEnd(26)} ${nodes.padStart(5)} ${o.seconds.toFixed(1).padStart(8)} s  ${busy}`);
  }
}

/** Speed-up over one node that does the same. */
const speedUp = (points: Record<string, Outcome>) => {
  const one = points["1"];
  return one ? Object.entries(points).map(([n, o]) => ({ x: Number(n), y: one.seconds / o.seconds })) : [];
};
for (const [size, all] of Object.entries(kept)) {
  const series = Object.keys(curves)
    .filter((name) => all[name]?.["1"])
    .map((name) => ({ name, points: speedUp(all[name]!) }));
  const chart = lineChart({
    title: `Speed-up of merging ${size} over one node`,
    description: "Simulated with the real scheduler; how bytes travel, and the coordinator's network.",
    series,
    x: { label: "nodes", kind: "log" },
    y: { label: "times as fast", kind: "log" },
    height: 380,
  });
  writeFileSync(join(root, `docs/scale-${size}.svg`), standalone(chart));
}

// `npm run experiments [GROUP…]`: runs the groups (all without a name), keeps each in docs/experiments/results.json, and writes page,
// table and pictures of all that are there.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Groups, groups, type Row } from "./groups.ts";
import { root } from "./models.ts";
import { page } from "./page.ts";
import { pictures } from "./pictures.ts";

const folder = join(root, "docs/experiments");
const file = join(folder, "results.json");
const names = Object.keys(groups) as (keyof Groups)[];

function csv(results: Groups): string {
  const rows = (["singles", "drop", "merges", "masks", "q"] as const).flatMap((group) =>
    results[group].map((r: Row) => [
      group,
      r.label,
      r.model,
      r.p,
      r.q,
      r.seed,
      r.scores.add,
      r.scores.rev,
      r.scores.sort,
    ]),
  );
  const laws = results.laws.map((l) => ["laws", l.law, "ft-add", l.p, "", 42, l.measured, l.theory, ""]);
  const field = (x: unknown) => (x === undefined ? "" : /[",]/.test(String(x)) ? `"${String(x)}"` : String(x));
  const head = ["group", "label", "model", "p", "q", "seed", "add", "rev", "sort"];
  const lawHead = ["group", "law", "model", "p", "q", "seed", "measured", "theory", ""];
  return [head, ...rows, lawHead, ...laws].map((row) => `${row.map(field).join(",")}\n`).join("");
}

async function main(asked: readonly string[]): Promise<number> {
  const unknown = asked.filter((name) => !names.includes(name as keyof Groups) && name !== "page");
  if (unknown.length > 0) {
    console.error(`Unknown: ${unknown.join(", ")}. There are ${names.join(", ")}, and page for what is there already.`);
    return 2;
  }
  mkdirSync(folder, { recursive: true });
  // Read again before it is written: groups may run side by side.
  const read = () => (existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {}) as Partial<Groups>;
  for (const name of asked.length === 0 ? names : names.filter((n) => asked.includes(n))) {
    const started = performance.now();
    const found = await groups[name]((done) => console.error(`${name}: ${done}`));
    const results = { ...read(), [name]: found } as Partial<Groups>;
    console.error(`${name}: ${found.length} results in ${((performance.now() - started) / 1000).toFixed(0)} s`);
    const ordered = Object.fromEntries(names.flatMap((n) => (results[n] ? [[n, results[n]]] : [])));
    writeFileSync(file, `${JSON.stringify(ordered, null, 1)}\n`);
  }
  const results = read();
  const missing = names.filter((name) => !results[name]);
  if (missing.length > 0) {
    console.error(`No page yet: ${missing.join(", ")} missing`);
    return 0;
  }
  const all = results as Groups;
  for (const [name, svg] of Object.entries(pictures(all))) writeFileSync(join(folder, `${name}.svg`), svg);
  writeFileSync(join(folder, "results.csv"), csv(all));
  writeFileSync(join(folder, "README.md"), page(all));
  return 0;
}

process.exit(await main(process.argv.slice(2)));

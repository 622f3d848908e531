// A sweep: plans every point of a grid, merges and scores those that are not known yet, and picks the best.

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { BraidError, type Diagnostic, fail, isBraidError, quote } from "../errors.ts";
import type { Host, MergeRequest } from "../host.ts";
import { merge } from "../merge.ts";
import { catalogue } from "../methods/index.ts";
import { type Prepared, prepare } from "../prepare.ts";
import { type Axis, gridOf, type Point } from "./axes.ts";
import { type Finding, type JournalFile, journalLine, readJournal } from "./journal.ts";
import { shareSurveys } from "./share.ts";

/** Scores a merged checkpoint. */
export interface Evaluator {
  /** What a score depends on beside the checkpoint; another identity is another score. */
  readonly identity: string;
  /** One or several scores by name. Rejects when there is none. */
  evaluate(out: string, signal: AbortSignal): Promise<Readonly<Record<string, number>>>;
}

export interface SweepOptions {
  readonly axes: readonly Axis[];
  readonly evaluator: Evaluator;
  /** Which score decides: a name, or null for the mean of all. */
  readonly by: string | null;
  readonly lowest: boolean;
  /** The folder of point `index`. */
  readonly place: (index: number, point: Point) => string;
  /** Leave the merged checkpoints where they are. */
  readonly keep: boolean;
  readonly journal: JournalFile;
  readonly journalName: string;
  readonly report: (event: SweepEvent) => void;
}

export type SweepEvent =
  | { readonly type: "planned"; readonly points: number; readonly known: number }
  | {
      readonly type: "point";
      readonly index: number;
      readonly points: number;
      readonly values: Point["values"];
      readonly step: "merge" | "score";
    }
  | { readonly type: "found"; readonly index: number; readonly points: number; readonly result: PointResult };

export interface PointResult extends Finding {
  /** What the sweep goes by. */
  readonly score: number;
  /** Found by an earlier run. */
  readonly known: boolean;
}

export interface SweepResult {
  readonly axes: readonly Axis[];
  readonly points: readonly PointResult[];
  /** Index of the best point; the first of equals. */
  readonly best: number;
  /** Surveys that merges had in common, and those that were run. */
  readonly surveys: { readonly shared: number; readonly run: number };
}

interface Planned {
  readonly point: Point;
  readonly request: MergeRequest;
  readonly prepared: Prepared;
  readonly key: string;
}

/**
 * Runs what is not known yet. Every point is planned before the first is merged, so that what is wrong with one is told at once.
 *
 * @throws BraidError of planning or merging, `sweep` when a score is missing.
 */
export async function sweep(request: MergeRequest, options: SweepOptions, host: Host): Promise<SweepResult> {
  const { axes, evaluator, journal, report } = options;
  const known = readJournal(journal, options.journalName);
  const planned = await planPoints(request, axes, evaluator, host);
  report({ type: "planned", points: planned.length, known: planned.filter((p) => known.has(p.key)).length });
  const surveys = shareSurveys();
  const results: PointResult[] = [];
  for (const [index, { point, request: own, prepared, key }] of planned.entries()) {
    host.signal.throwIfAborted();
    const tell = (step: "merge" | "score") =>
      report({ type: "point", index, points: planned.length, values: point.values, step });
    let finding = known.get(key);
    const before = finding !== undefined;
    if (!finding) {
      const out = options.place(index, point);
      tell("merge");
      const quiet: Host = {
        ...host,
        report: (event) => {
          if (event.type === "progress" || event.type === "hashing") host.report(event);
        },
        createExecutor: async (job, workers) => surveys.wrap(await host.createExecutor(job, workers), job),
      };
      const summary = await merge(own, out, { overwrite: true }, quiet);
      tell("score");
      const started = host.now();
      const scores = await evaluator.evaluate(out, host.signal);
      finding = {
        key,
        values: point.values,
        scores,
        planSha256: prepared.planSha256,
        files: summary.files,
        mergeSeconds: summary.seconds,
        evalSeconds: (host.now() - started) / 1000,
      };
      scoreOf(finding, options);
      await journal.append(journalLine(finding));
      known.set(key, finding);
      if (!options.keep) await host.removeFolder(out);
    }
    const result = { ...finding, values: point.values, score: scoreOf(finding, options), known: before };
    results.push(result);
    report({ type: "found", index, points: planned.length, result });
  }
  const better = (a: number, b: number) => (options.lowest ? a < b : a > b);
  const best = results.reduce((top, r, i) => (better(r.score, results[top]!.score) ? i : top), 0);
  return { axes, points: results, best, surveys: { shared: surveys.shared, run: surveys.run } };
}

async function planPoints(
  request: MergeRequest,
  axes: readonly Axis[],
  evaluator: Evaluator,
  host: Host,
): Promise<Planned[]> {
  const { recipe, compat } = request;
  const planned: Planned[] = [];
  const failed: Diagnostic[] = [];
  const warned = new Set<string>();
  for (const point of gridOf(recipe.text, axes, catalogue(compat === "mergekit"))) {
    const values = Object.entries(point.values).map(([name, value]) => `${name}=${value}`);
    const own = {
      ...request,
      recipe: { ...recipe, text: point.recipe, file: `${recipe.file} with ${values.join(" ")}` },
    };
    try {
      const prepared = await prepare(own, host);
      for (const d of [...prepared.earlier, prepared].flatMap((p) => p.warnings)) {
        // The same warning of every point is told once.
        if (warned.has(d.message)) continue;
        warned.add(d.message);
        host.report({ type: "warning", diagnostic: d });
      }
      planned.push({ point, request: own, prepared, key: keyOf(prepared, evaluator) });
    } catch (e) {
      if (!isBraidError(e)) throw e;
      // Lines of a changed text mean nothing to its author; the values do.
      failed.push(
        ...e.diagnostics.map(({ where: _, ...d }) => ({ ...d, message: `With ${values.join(" ")}: ${d.message}` })),
      );
    }
  }
  if (failed.length > 0) throw new BraidError(failed.slice(0, maxErrors));
  return planned;
}

/** Most are the same for many points. */
const maxErrors = 10;

/** What the scores of a point depend on: the bytes that the plan gives, the state of its inputs, the evaluator. */
function keyOf(prepared: Prepared, evaluator: Evaluator): string {
  const all = [...prepared.earlier, prepared];
  const inputs = all.flatMap((p) =>
    p.checkpoints.flatMap((c) =>
      c.files.map(({ location, byteLength, headerSha256, identity }) => ({
        location,
        byteLength,
        headerSha256,
        mtime: identity?.mtimeNs,
      })),
    ),
  );
  const plans = all.map((p) => p.planSha256);
  return bytesToHex(sha256(utf8ToBytes(JSON.stringify(["braid-sweep-1", plans, inputs, evaluator.identity]))));
}

function scoreOf({ scores }: Finding, { by }: SweepOptions): number {
  const names = Object.keys(scores);
  if (by !== null) {
    const score = scores[by];
    if (score === undefined) {
      fail("sweep", `Cannot choose by ${quote(by)}: the evaluator gave ${names.map((n) => quote(n)).join(", ")}`);
    }
    return score;
  }
  return names.reduce((sum, name) => sum + scores[name]!, 0) / names.length;
}

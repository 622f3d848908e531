// From a base and its fine-tunes to an Analysis: open, plan, one pass, sums in the order of the plan, advice.

import type { Diagnostic } from "../errors.ts";
import { drive } from "../exec/drive.ts";
import type { Host } from "../host.ts";
import { Progress } from "../progress.ts";
import { advise } from "./advice.ts";
import { type Analysis, type Group, type TensorGroup, type TensorKind, tensorKinds } from "./analysis.ts";
import { Collector } from "./collect.ts";
import { add, addSpread, type Counted, nothing } from "./counted.ts";
import { groupOf } from "./group.ts";
import { lineageOf } from "./lineage.ts";
import { type Configuration, configurations, modelCypherOf } from "./model-cypher.ts";
import { type AnalysisPlan, type AnalyzeRequest, planAnalysis } from "./plan.ts";
import { noSpread } from "./spread.ts";

export interface Analysed {
  readonly analysis: Analysis;
  readonly warnings: readonly Diagnostic[];
  readonly seconds: number;
  readonly workers: number;
  readonly bytesRead: number;
  readonly workerSeconds: { readonly read: number; readonly compute: number };
  readonly plannedPeakBytes: number;
  readonly peakMemoryBytes: number | null;
}

/**
 * Analyses the deltas of `models` to `base`. Nothing is written.
 *
 * @throws BraidError: what a merge of the same models would be refused for, and `memory-budget`.
 */
export async function analyze(
  base: string,
  models: readonly string[],
  request: AnalyzeRequest,
  host: Host,
): Promise<Analysed> {
  const started = host.now();
  const plan = await planAnalysis(base, models, request, host);
  const groups = new Groups(plan);
  const counted: Counted[] = [];
  const tensors: TensorGroup[] = [];
  const progress = new Progress(host, started, plan.bytesRead);
  const workerSeconds = { read: 0, compute: 0 };
  const collector = new Collector(plan, request.topShare, {
    counted: (index, c) => {
      const { name, shape, kind, stack, layer } = plan.tensors[index]!;
      tensors[index] = { name, shape, kind, stack, layer, ...groupOf(c, false) };
      groups.addSpreads(index, c);
      // What is left of a tensor is small.
      counted[index] = { ...c, models: c.models.map((m) => m && { ...m, spread: noSpread }) };
    },
    progress: (bytes, tensor, task, { read, compute }) => {
      progress.done(task, bytes, tensor);
      workerSeconds.read += read / 1e9;
      workerSeconds.compute += compute / 1e9;
    },
  });
  const job = {
    files: plan.inputFiles.map((f) => ({ path: f.location, mode: "read" as const })),
    workerBytes: plan.workerBytes,
    sync: false,
  };
  const executor = await host.createExecutor(job, plan.workers);
  try {
    await drive(collector, executor, host.signal);
  } finally {
    await executor.close();
  }
  progress.end();
  for (const input of [plan.base, ...plan.models])
    for (const f of input.files) if (f.identity) host.assertUnchanged(f.location, f.identity);
  counted.forEach((c, i) => {
    groups.add(i, c);
  });
  const { whole, kinds, layers, modelCypher } = groups.close(configurations[request.modelCypher]);
  const lineage = lineageOf(plan, counted, whole);
  const parameters = whole.parameters;
  return {
    analysis: {
      format: "braid-analysis-1",
      base,
      models,
      parameters,
      topShare: request.topShare,
      lineage,
      whole,
      kinds,
      layers,
      tensors,
      modelCypher,
      advice: advise({ models, parameters, lineage, whole, kinds, tensors }),
    },
    warnings: distinct([plan.base, ...plan.models].flatMap((m) => m.warnings)),
    seconds: (host.now() - started) / 1000,
    workers: plan.workers,
    bytesRead: plan.bytesRead,
    workerSeconds,
    plannedPeakBytes: plan.peakBytes,
    peakMemoryBytes: host.peakMemory(),
  };
}

/** What adds up over tensors: all, kinds, layers, and tensors outside of layers for ModelCypher's list. */
class Groups {
  private readonly plan: AnalysisPlan;
  private readonly whole: Counted;
  private readonly kinds = new Map<TensorKind, Counted>();
  /** By stack and number, or by the name of a tensor outside of layers, in the order of the plan. */
  private readonly places = new Map<
    string,
    { readonly stack: string | null; readonly layer: number | null; readonly counted: Counted }
  >();

  constructor(plan: AnalysisPlan) {
    this.plan = plan;
    const n = plan.models.length;
    this.whole = nothing(n);
    for (const { name, kind, stack, layer } of plan.tensors) {
      if (!this.kinds.has(kind)) this.kinds.set(kind, nothing(n));
      const place = stack === null ? name : `${stack}.${layer}`;
      if (!this.places.has(place)) this.places.set(place, { stack, layer, counted: nothing(n) });
    }
  }

  private of(index: number): { kind: Counted; place: Counted } {
    const { name, kind, stack, layer } = this.plan.tensors[index]!;
    const place = this.places.get(stack === null ? name : `${stack}.${layer}`)!;
    return { kind: this.kinds.get(kind)!, place: place.counted };
  }

  addSpreads(index: number, c: Counted): void {
    const { kind, place } = this.of(index);
    addSpread(this.whole, c, true);
    addSpread(kind, c, true);
    addSpread(place, c, false);
  }

  add(index: number, c: Counted): void {
    const { kind, place } = this.of(index);
    for (const group of [this.whole, kind, place]) add(group, c);
  }

  close(configuration: Configuration) {
    const kinds = tensorKinds.flatMap((kind) => {
      const c = this.kinds.get(kind);
      return c ? [{ kind, ...groupOf(c, true) }] : [];
    });
    const layers: (Group & { stack: string; layer: number })[] = [];
    for (const { stack, layer, counted } of this.places.values())
      if (stack !== null && layer !== null) layers.push({ stack, layer, ...groupOf(counted, false) });
    layers.sort((a, b) => (a.stack < b.stack ? -1 : a.stack > b.stack ? 1 : a.layer - b.layer));
    const modelCypher = this.plan.models.map((_, m) => {
      const named = [...this.places].flatMap(([name, { counted }]) => {
        const model = counted.models[m];
        return model ? [{ name, model }] : [];
      });
      return modelCypherOf(named, configuration);
    });
    return { whole: groupOf(this.whole, true), kinds, layers, modelCypher };
  }
}

function distinct(warnings: readonly Diagnostic[]): Diagnostic[] {
  return [...new Map(warnings.map((w) => [JSON.stringify(w), w])).values()];
}

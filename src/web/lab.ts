// The entry of the worker in which recipes are tried while controls move: small merges, pictures of one tensor, and the merged model's
// answers to prompts. A newer order stops an older one of its kind.

import { memoryFolder } from "../bytes/memory.ts";
import { fail, quote } from "../errors.ts";
import { errorToWire } from "../exec/messages.ts";
import { openNetwork } from "../infer/network.ts";
import { parseCases, scoreExactMatch } from "../infer/score.ts";
import { openTokenizer } from "../infer/tokenizer.ts";
import { compileKernel } from "../kernel/kernel.ts";
import { openCheckpoint } from "../tensor/checkpoint.ts";
import type { FromLab, LookOrder, LookResult, ScoreOrder, TaskScore, ToLab } from "./lab-messages.ts";
import {
  type Change,
  changeFacts,
  conflicts,
  cosines,
  countElection,
  distribution,
  dot,
  electionPicture,
  maskPicture,
} from "./look.ts";
import { maxMemoryBytes, mergeInMemory } from "./memory-host.ts";
import { byteLengthOf, type Mount } from "./mounts.ts";
import { matricesOf, oneTensor, onlyTensor } from "./one-tensor.ts";
import { openMounted } from "./open.ts";
import { formOf } from "./recipe-form.ts";
import { changedModels, mergedRecipe, originOf, survivorRecipe, weightsOf } from "./survivors.ts";

const scope = globalThis as unknown as {
  postMessage(message: FromLab, transfer?: ArrayBuffer[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent<ToLab>) => void): void;
};

const module = compileKernel();
const now = () => performance.now();

/** Prompts of a task that are asked together; after each such lot the page is told. */
const lot = 20;
/** A tensor of this kind shows most: the middle of the network. */
const showsMost = /layers\.1\.(self_attn\.q_proj|mlp\.up_proj)\.weight$/;

function mountOf(mounts: readonly Mount[], name: string): Mount {
  const found = mounts.find((mount) => mount.name === name);
  if (!found) fail("model-not-found", `Cannot find the model ${quote(name)} among those of this page`);
  return found;
}

async function look(order: LookOrder, signal: AbortSignal): Promise<LookResult> {
  const started = now();
  const form = formOf(order.text);
  if (!form) fail("recipe-unsupported", "This recipe says more than can be drawn here; it merges all the same");
  const origin = originOf(form);
  const models = changedModels(form);
  if (origin === null || models.length === 0) {
    fail("recipe-models", "There is nothing to compare yet: the recipe needs two models, or a base and a fine-tune");
  }
  const base = mountOf(order.mounts, origin);
  const matrices = (await matricesOf(base, openMounted)).map(({ name }) => name);
  if (matrices.length === 0)
    fail("tensor-missing", `${quote(origin)} has no matrix of at most 4 M elements to look at`);
  const wanted = order.tensor !== null && matrices.includes(order.tensor) ? order.tensor : null;
  const tensor = wanted ?? matrices.find((name) => showsMost.test(name)) ?? matrices[0]!;
  const ones = new Map<string, Awaited<ReturnType<typeof oneTensor>>>();
  for (const name of new Set([origin, ...form.models.map(({ model }) => model)])) {
    ones.set(name, await oneTensor(mountOf(order.mounts, name), tensor, openMounted));
    signal.throwIfAborted();
  }
  const mounts = [...ones.values()].map(({ mount }) => mount);
  const from = ones.get(origin)!;
  const run = async (text: string): Promise<Float32Array> => {
    const files = await mergeInMemory({ text, mounts, module, open: openMounted, now, signal });
    return minus(await onlyTensor(files), from.values);
  };
  const changes: Change[] = [];
  for (const model of models) {
    const delta = minus(ones.get(model)!.values, from.values);
    const recipe = survivorRecipe(form, model);
    changes.push({ model, delta, kept: recipe === null ? delta : await run(recipe) });
    signal.throwIfAborted();
  }
  const merged = await run(mergedRecipe(form));
  const [rows, columns] = from.shape as [number, number];
  const model = order.model !== null && models.includes(order.model) ? order.model : models[0]!;
  const shown = changes.find((change) => change.model === model)!;
  const weights = weightsOf(form);
  const norm = Math.sqrt(dot(merged, merged));
  return {
    tensors: matrices,
    tensor,
    shape: from.shape,
    origin,
    models,
    model,
    mask: maskPicture(shown, { rows, columns }),
    election: electionPicture(changes, weights, merged, { rows, columns }),
    counts: countElection(changes, weights),
    distribution: distribution(shown),
    facts: changes.map(changeFacts),
    cosineBefore: cosines(changes.map(({ delta }) => delta)),
    cosineAfter: cosines(changes.map(({ kept }) => kept)),
    conflictAfter: conflicts(changes.map(({ kept }) => kept)),
    mergedCosine: changes.map(({ delta }) => {
      const both = norm * Math.sqrt(dot(delta, delta));
      return both === 0 ? 0 : dot(merged, delta) / both;
    }),
    seconds: (now() - started) / 1000,
  };
}

function minus(x: Float32Array, y: Float32Array): Float32Array {
  const out = new Float32Array(x.length);
  for (let i = 0; i < x.length; i++) out[i] = x[i]! - y[i]!;
  return out;
}

/** Merges the whole models in memory and asks the result the prompts of every task, a lot at a time, the tasks in turn. */
async function score(
  order: ScoreOrder,
  tell: (tasks: readonly TaskScore[], done: boolean, seconds: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const started = now();
  const form = formOf(order.text);
  const used = new Set(
    form ? [...form.models.map(({ model }) => model), ...(form.base === null ? [] : [form.base])] : [],
  );
  const bytes = order.mounts
    .filter(({ name }) => used.size === 0 || used.has(name))
    .reduce((sum, { files }) => sum + [...files.values()].reduce((all, file) => all + byteLengthOf(file), 0), 0);
  if (bytes > maxMemoryBytes)
    fail("memory-budget", "These models are too large to be tried here; they merge below all the same");
  const files = await mergeInMemory({ text: order.text, mounts: order.mounts, module, open: openMounted, now, signal });
  const folder = memoryFolder("merged", files);
  const network = await openNetwork(await openCheckpoint("merged", folder), folder, module, { signal });
  const tokenizer = await openTokenizer(folder);
  const tasks = order.tasks.map(({ name, text }) => ({ name, cases: parseCases(text, name) }));
  const scores: TaskScore[] = tasks.map(({ name, cases }) => ({
    name,
    correct: 0,
    asked: 0,
    total: cases.length,
    example: null,
  }));
  const pause = () => new Promise<void>((resolve) => setTimeout(resolve, 0));
  const most = Math.max(...tasks.map(({ cases }) => cases.length));
  for (let first = 0; first < most; first += lot) {
    for (const [i, { cases }] of tasks.entries()) {
      const some = cases.slice(first, first + lot);
      if (some.length === 0) continue;
      const { correct, answers } = await scoreExactMatch(network, tokenizer, some, { signal, pause });
      const before = scores[i]!;
      const { prompt, answer } = some[0]!;
      scores[i] = {
        ...before,
        correct: before.correct + correct,
        asked: before.asked + some.length,
        example: before.example ?? { prompt, said: answers[0]!, right: answers[0] === answer },
      };
      signal.throwIfAborted();
    }
    tell([...scores], first + lot >= most, (now() - started) / 1000);
  }
}

type Order = Exclude<ToLab, { type: "rest" }>;
const running = new Map<Order["type"], AbortController>();

async function handle(message: Order): Promise<void> {
  const { type, id } = message;
  running.get(type)?.abort();
  const controller = new AbortController();
  running.set(type, controller);
  const { signal } = controller;
  try {
    if (message.type === "look") {
      const result = await look(message.order, signal);
      if (!signal.aborted) scope.postMessage({ type: "looked", id, result });
    } else {
      await score(
        message.order,
        (tasks, done, seconds) => scope.postMessage({ type: "scored", id, tasks, done, seconds }),
        signal,
      );
    }
  } catch (error) {
    if (!signal.aborted) scope.postMessage({ type: "failed", id, error: errorToWire(error) });
  }
}

scope.addEventListener("message", ({ data }) => {
  if (data.type === "rest") for (const each of running.values()) each.abort();
  else void handle(data);
});

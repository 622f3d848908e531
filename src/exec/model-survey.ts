// Surveys over all tensors of a model together. Of thresholds the searches are those of one tensor, and their rounds go over every
// tensor before the next begins. All that is merged are counts, so the order in which tensors answer does not matter.

import type { Operand, SurveyPart, ThresholdOperand } from "../kernel/program.ts";
import { pieceElements } from "../kernel/program.ts";
import type { Norms, Threshold } from "../methods/method.ts";
import { located, normsOf } from "./gather.ts";
import { addPairs, emptySlots, giveBack, RoundMerger, type RoundOutcome, type RoundRequest } from "./rounds.ts";
import { Sample, spreadPieces } from "./sample.ts";
import { plain } from "./search.ts";
import { type Cut, everyEqual, Selection } from "./selection.ts";

/** A tensor that takes part: its operands, and which model each belongs to. */
export interface Member {
  readonly count: number;
  readonly operands: readonly ThresholdOperand[];
  readonly models: readonly number[];
}

/** A round over several tensors. Once every part of every request is in, the generator takes the next step. */
export interface ModelRound {
  /** Indices of the members that are asked. */
  readonly asked: readonly number[];
  request(member: number): RoundRequest;
  /** Takes the part of elements [first, first + count) of a member. */
  add(member: number, part: SurveyPart, first: number, count: number): void;
}

export interface ModelThresholds {
  /** Member by member, operand by operand. */
  readonly thresholds: readonly (readonly Threshold[])[];
  /** Elements that stay, by model. */
  readonly kept: ReadonlyMap<number, number>;
}

/** `members` in the order in which `exact` takes equal magnitudes: by output name. */
export function* gatherModel(members: readonly Member[]): Generator<ModelRound, ModelThresholds, void> {
  const samples = yield* sampled(members);
  const selections = new Map<number, Selection>();
  for (const { operands, models } of members) {
    for (const [i, model] of models.entries()) {
      if (selections.has(model)) continue;
      const count = members.reduce((sum, m) => sum + (m.models.includes(model) ? m.count : 0), 0);
      const keys = samples.get(model);
      selections.set(model, new Selection(operands[i]!, count, keys ? new Sample(keys) : null));
    }
  }
  yield* searched(members, selections);
  const cuts = [...selections].flatMap(([model, s]) => s.cuts.map((cut): ModelCut => ({ ...cut, model })));
  const places = cuts.length > 0 ? yield* placed(members, cuts) : [];
  const thresholds = members.map(({ models }, member) =>
    models.map((model): Threshold => {
      const indexOf = (end: Cut["end"]) => {
        const place = places[cuts.findIndex((c) => c.model === model && c.end === end)];
        if (!place) return undefined;
        return place.member === member ? place.index : member < place.member ? everyEqual : 0;
      };
      return { ...selections.get(model)!.threshold(indexOf), kept: null };
    }),
  );
  return { thresholds, kept: new Map([...selections].map(([model, s]) => [model, s.kept])) };
}

export interface ModelNorms {
  /** Member by member, operand by operand: what the whole model of the operand has. */
  readonly norms: readonly Norms[];
  /** Σx² of every model, by its index. */
  readonly squares: readonly number[];
}

/** Norms of whole models: those of the tensors, added in the order of `members`. */
export function* gatherModelNorms(
  members: readonly { count: number; operands: readonly Operand[]; models: readonly number[] }[],
): Generator<ModelRound, ModelNorms, void> {
  const requests = members.map(
    ({ operands, count }): RoundRequest => ({ round: { op: "norms", operands: operands.map(plain) }, first: 0, count }),
  );
  const mergers = requests.map((r) => new RoundMerger(r));
  const found: (RoundOutcome | null)[] = members.map(() => null);
  const asked = members.flatMap(({ count }, i) => (count > 0 ? [i] : []));
  if (asked.length > 0) {
    yield {
      asked,
      request: (i) => requests[i]!,
      add: (i, part, first, count) => {
        found[i] = mergers[i]!.add(part, first, count);
      },
    };
  }
  const totals = new Map<number, Norms[number]>();
  const nothing = { l1: 0, l2: 0, max: 0, nonzero: 0 };
  for (const i of asked) {
    for (const [k, n] of normsOf(found[i]!).entries()) {
      const model = members[i]!.models[k]!;
      const was = totals.get(model) ?? nothing;
      const max = Math.max(was.max, n.max);
      totals.set(model, { l1: was.l1 + n.l1, l2: was.l2 + n.l2, max, nonzero: was.nonzero + n.nonzero });
    }
  }
  const squares = Array.from({ length: Math.max(-1, ...totals.keys()) + 1 }, (_, m) => totals.get(m)?.l2 ?? 0);
  return { norms: members.map(({ models }) => models.map((m) => totals.get(m) ?? nothing)), squares };
}

/** Where in a member the operand of a model is, or −1. */
function operandOf(member: Member, model: number): number {
  return member.models.indexOf(model);
}

function askedOf(members: readonly Member[], models: readonly number[]): number[] {
  return members.flatMap((m, i) => (models.some((model) => operandOf(m, model) >= 0) ? [i] : []));
}

/** Keys of pieces from all over the model, by model; nothing where it is small. */
function* sampled(members: readonly Member[]): Generator<ModelRound, Map<number, Uint32Array>, void> {
  const pieces = spreadPieces(members.map((m) => m.count));
  const found: (readonly Uint32Array[])[] = [];
  const asked = members.flatMap((_, i) => (pieces[i]!.length > 0 ? [i] : []));
  if (asked.length > 0) {
    yield {
      asked,
      request: (i) => {
        const round = { op: "sample", operands: members[i]!.operands.map(plain) } as const;
        return { round, first: 0, count: pieces[i]!.length * pieceElements, pieces: pieces[i]! };
      },
      add: (i, part) => {
        if (part.op !== "sample") throw new TypeError("expected a sample");
        found[i] = part.keys;
      },
    };
  }
  const keys = new Map<number, Uint32Array>();
  for (const model of new Set(members.flatMap((m) => m.models))) {
    const parts = members.flatMap((m, i) => found[i]?.[operandOf(m, model)] ?? []);
    if (parts.length === 0) continue;
    const all = new Uint32Array(parts.reduce((sum, p) => sum + p.length, 0));
    let at = 0;
    for (const p of parts) {
      all.set(p, at);
      at += p.length;
    }
    keys.set(model, all);
  }
  return keys;
}

/** Passes over all tensors until every key is found. */
function* searched(
  members: readonly Member[],
  selections: ReadonlyMap<number, Selection>,
): Generator<ModelRound, void, void> {
  for (;;) {
    const open = [...selections].flatMap(([model, s]) =>
      s.open.map((search) => {
        const bracket = search.request();
        return { model, search, bracket, above: 0, nonzero: 0, slots: emptySlots(bracket) };
      }),
    );
    if (open.length === 0) return;
    const of = (member: Member) => open.filter((o) => operandOf(member, o.model) >= 0);
    yield {
      asked: askedOf(
        members,
        open.map((o) => o.model),
      ),
      request: (i) => {
        const member = members[i]!;
        const operands = of(member).map((o) => ({
          ...plain(member.operands[operandOf(member, o.model)]!),
          ...o.bracket,
        }));
        return { round: { op: "histogram", operands }, first: 0, count: member.count };
      },
      add: (i, part) => {
        if (part.op !== "histogram") throw new TypeError("expected a histogram");
        of(members[i]!).forEach((o, k) => {
          o.above += part.above[k]!;
          o.nonzero += part.nonzero[k]!;
          addPairs(o.slots, part.bins[k]!, o.bracket);
        });
      },
    };
    for (const o of open) {
      o.search.take(o.above, o.nonzero, o.slots);
      giveBack(o.slots);
    }
  }
}

interface ModelCut extends Cut {
  readonly model: number;
}

/** In which member, and at which index of it, the equal key of each cut lies. */
function* placed(
  members: readonly Member[],
  cuts: readonly ModelCut[],
): Generator<ModelRound, { member: number; index: number }[], void> {
  const counts = cuts.map(() => members.map(() => 0));
  const of = (member: Member) => cuts.flatMap((c, i) => (operandOf(member, c.model) >= 0 ? [i] : []));
  const keyed = (member: Member, { model, key, nth }: ModelCut) => {
    return { ...plain(member.operands[operandOf(member, model)]!), key, nth };
  };
  yield {
    asked: askedOf(
      members,
      cuts.map((c) => c.model),
    ),
    request: (i) => {
      const operands = of(members[i]!).map((c) => keyed(members[i]!, cuts[c]!));
      return { round: { op: "equals", operands }, first: 0, count: members[i]!.count };
    },
    add: (i, part) => {
      if (part.op !== "equals") throw new TypeError("expected equal counts");
      of(members[i]!).forEach((c, k) => {
        counts[c]![i]! += part.blocks[k]!.reduce((sum, n) => sum + n, 0);
      });
    },
  };
  const places: { member: number; index: number }[] = [];
  for (const [c, cut] of cuts.entries()) {
    let { nth } = cut;
    let member = 0;
    while (nth >= counts[c]![member]!) nth -= counts[c]![member++]!;
    const search = located([keyed(members[member]!, { ...cut, nth })], members[member]!.count);
    const [index] = yield* within(member, search);
    places.push({ member, index: index! });
  }
  return places;
}

/** Rounds of one member by itself. */
function* within<T>(member: number, rounds: Generator<RoundRequest, T, RoundOutcome>): Generator<ModelRound, T, void> {
  let step = rounds.next();
  while (!step.done) {
    const request = step.value;
    const merger = new RoundMerger(request);
    let outcome: RoundOutcome | null = null;
    yield {
      asked: [member],
      request: () => request,
      add: (_, part, first, count) => {
        outcome = merger.add(part, first, count);
      },
    };
    step = rounds.next(outcome!);
  }
  return step.value;
}

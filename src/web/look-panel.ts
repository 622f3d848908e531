// What a recipe does, seen while its controls move: survivors, election, distributions, interference, and what the merged model can do.

import { barChart, heatMap, histogram } from "../svg/index.ts";
import { byId, debounce, el, say } from "./dom.ts";
import { formatCount, formatShare } from "./format.ts";
import { exampleNames } from "./intake.ts";
import type { Lab, Scored } from "./lab-client.ts";
import type { LookResult, TaskScore } from "./lab-messages.ts";
import { messageOf } from "./models-panel.ts";
import { chart, draw, electionKeys, legendOf, maskKeys } from "./pictures.ts";
import type { Store } from "./state.ts";
import { originOf } from "./survivors.ts";
import type { Fetch } from "./url-source.ts";

/** Sliders move in steps of a few milliseconds; this is soon enough to be at once. */
const lookMs = 60;
/** Answering prompts takes seconds: only when the controls rest. */
const scoreMs = 500;
const taskNames = ["add", "rev", "sort"] as const;
const taskTitles: Readonly<Record<string, string>> = {
  add: "adding numbers",
  rev: "reversing words",
  sort: "sorting letters",
};

/** Never "-0.00". */
const twoDigits = (x: number) => x.toFixed(2).replace(/^-(0\.00)$/, "$1");
const short = (model: string) => model.split("/").at(-1)!;
const shortTensor = (name: string) => name.replace(/^model\./, "").replace(/\.weight$/, "");

/** As wide as a chart may be in a box: letters keep their size on narrow screens. */
const room = (box: HTMLElement, most: number): number => Math.max(240, Math.min(most, box.clientWidth || most));

function figure(title: string, ...content: (Node | string)[]): HTMLElement {
  return el("section", { class: "card" }, el("h3", {}, title), ...content);
}

export interface LookPanel {
  /** Leaves the processor to a merge: nothing is asked of the merged model until `resume`. */
  rest(): void;
  resume(): void;
}

export function lookPanel(store: Store, lab: Lab, fetch: Fetch): LookPanel {
  const body = byId("look-body");
  const status = el("p", { class: "status", role: "status" });
  const tensor = el("select", { id: "tensor" });
  const model = el("select", { id: "shown-model" });
  const mask = el("canvas", { role: "img", "aria-label": "" });
  const election = el("canvas", { role: "img", "aria-label": "" });
  const maskFacts = el("p", { class: "facts" });
  const electionFacts = el("p", { class: "facts" });
  const changes = el("div", { class: "chart-box" });
  const interference = el("div", { class: "chart-box" });
  const accuracy = el("div", { class: "chart-box" });
  const accuracyText = el("p", { class: "facts" });
  const examples = el("ul", { class: "examples" });
  const pictures = el(
    "div",
    { class: "cards" },
    figure("Survivors", el("div", { class: "frame" }, mask), legendOf(maskKeys), maskFacts),
    figure("Sign election", el("div", { class: "frame" }, election), legendOf(electionKeys), electionFacts),
    figure("Changes before and after", changes),
    figure("Interference", interference),
  );
  const abilities = figure("What the merged model can do", accuracy, accuracyText, examples);
  abilities.classList.add("wide");
  body.replaceChildren(
    el(
      "div",
      { class: "row" },
      el("div", { class: "field grow" }, el("label", { for: "tensor" }, "Tensor"), tensor),
      el("div", { class: "field grow" }, el("label", { for: "shown-model" }, "Changes of"), model),
    ),
    status,
    abilities,
    pictures,
  );

  let shown: LookResult | null = null;
  const look = async (): Promise<void> => {
    const { text, mounts } = store.get();
    if (text === "" || mounts.length === 0) return;
    try {
      const result = await lab.look({ text, mounts, tensor: tensor.value || null, model: model.value || null });
      if (!result) return;
      shown = result;
      say(status, "");
      body.dataset.empty = "false";
      show(result);
    } catch (error) {
      shown = null;
      body.dataset.empty = "true";
      say(status, messageOf(error));
    }
  };
  const lookSoon = debounce(lookMs, () => void look());
  tensor.addEventListener("change", () => void look());
  model.addEventListener("change", () => void look());
  store.listen(lookSoon);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => shown && paint(shown));

  const paint = (result: LookResult) => {
    draw(mask, result.mask, maskKeys);
    draw(election, result.election, electionKeys);
  };
  const show = (result: LookResult): void => {
    options(tensor, result.tensors, result.tensor, shortTensor);
    options(model, result.models, result.model, (name) => name);
    paint(result);
    const facts = result.facts.find((each) => each.model === result.model)!;
    const [rows, columns] = result.shape as [number, number];
    const corner =
      rows > result.mask.rows || columns > result.mask.columns
        ? `The first ${result.mask.rows} × ${result.mask.columns} of `
        : "";
    maskFacts.textContent =
      `${corner}${rows} × ${columns}. ${formatShare(facts.changed)} of the elements changed, ${formatShare(facts.left)} are left, ` +
      `with ${facts.normRatio.toFixed(2)} × the norm.`;
    mask.setAttribute("aria-label", `Survivors of ${result.model} in ${result.tensor}: ${maskFacts.textContent}`);
    const { silent, alone, agreed, contested } = result.counts;
    const all = silent + alone + agreed + contested;
    electionFacts.textContent =
      `One model alone changes ${formatShare(alone / all)} of the elements; several agree on ${formatShare(agreed / all)} and ` +
      `disagree on ${formatShare(contested / all)}.`;
    election.setAttribute("aria-label", `Sign election in ${result.tensor}: ${electionFacts.textContent}`);
    changes.replaceChildren(
      chart(
        histogram({
          title: `Changes of ${result.model}, before and after`,
          description: `${formatShare(facts.changed)} changed before, ${formatShare(facts.left)} left after.`,
          edges: [...result.distribution.edges],
          series: [
            { name: "before", counts: [...result.distribution.before] },
            { name: "after", counts: [...result.distribution.after] },
          ],
          y: { kind: "log", label: "elements" },
          x: { label: "change" },
          width: room(changes, 380),
          height: 250,
        }),
      ),
    );
    const names = result.models.map(short);
    interference.replaceChildren(
      ...(names.length < 2
        ? [el("p", { class: "quiet" }, "One model alone is in nobody's way.")]
        : [
            chart(
              heatMap({
                title: "Cosine of the models' changes, of what is left of them",
                description: pairs(names, result.cosineAfter),
                rows: names,
                columns: names,
                values: result.cosineAfter.map((row) => [...row]),
                columnsLabel: "cosine of what is left",
                scale: { from: 0, to: 1, kind: "diverging" },
                numbers: true,
                format: twoDigits,
                width: room(interference, 330),
              }),
            ),
            chart(
              heatMap({
                title: "Opposite signs, of elements that both models changed",
                description: pairs(names, result.conflictAfter),
                rows: names,
                columns: names,
                values: result.conflictAfter.map((row, i) => row.map((x, j) => (i === j ? null : x))),
                columnsLabel: "share of opposite signs",
                scale: { from: 0, to: 1 },
                numbers: true,
                format: twoDigits,
                width: room(interference, 330),
              }),
            ),
          ]),
    );
  };

  const base = new Map<string, readonly TaskScore[]>();
  let tasks: readonly { name: string; text: string }[] | null = null;
  let turn = 0;
  let resting = false;
  /** The recipe changed since the prompts were answered. */
  let due = false;
  let asking = false;
  const score = async (): Promise<void> => {
    if (resting) return;
    due = false;
    const { text, mounts, form } = store.get();
    const mine = ++turn;
    const known = (name: string) => exampleNames.some((each) => name === `models/${each}`);
    const names = form ? [...form.models.map((each) => each.model), ...(form.base === null ? [] : [form.base])] : [];
    abilities.hidden =
      names.length === 0 || !names.every((name) => known(name) && mounts.some((mount) => mount.name === name));
    if (abilities.hidden || !form) return;
    try {
      asking = true;
      tasks ??= await loadTasks(fetch);
      const origin = originOf(form)!;
      if (!base.has(origin)) {
        const alone = `merge_method: linear\nmodels:\n  - model: ${JSON.stringify(origin)}\n    parameters: { weight: 1 }\ndtype: bfloat16\n`;
        const done = await lab.score({ text: alone, mounts, tasks }, (scored) => {
          if (scored.done) base.set(origin, scored.tasks);
          showScore(scored, null, short(origin));
        });
        if (!done || mine !== turn) return;
      }
      await lab.score({ text, mounts, tasks }, (scored) => {
        if (mine === turn) showScore(scored, base.get(origin) ?? null, short(origin));
      });
    } catch (error) {
      if (mine === turn) accuracyText.textContent = messageOf(error);
    } finally {
      if (mine === turn) asking = false;
    }
  };
  const scoreSoon = debounce(scoreMs, () => void score());
  store.listen(() => {
    accuracy.classList.add("stale");
    due = true;
    scoreSoon();
  });

  /** `before`: the scores of the model that the merge starts from; null while those are what is shown. */
  const showScore = ({ tasks, done, seconds }: Scored, before: readonly TaskScore[] | null, origin: string): void => {
    accuracy.classList.toggle("stale", before === null);
    const share = ({ correct, asked }: TaskScore) => (asked === 0 ? null : correct / asked);
    const merged = { name: "merged", values: tasks.map(share) };
    const start = { name: origin, values: (before ?? tasks).map(share) };
    accuracy.replaceChildren(
      chart(
        barChart({
          title: "Exact answers by task",
          description: tasks
            .map((task) => `${task.name}: ${formatShare(share(task) ?? 0, 0)} of ${task.asked} prompts`)
            .join("; "),
          categories: tasks.map(({ name }) => taskTitles[name] ?? name),
          series: before === null ? [{ name: "merged", values: tasks.map(() => null) }, start] : [merged, start],
          x: { from: 0, to: 1, format: (x) => `${Math.round(x * 100)} %` },
          width: room(accuracy, 560),
        }),
      ),
    );
    const asked = tasks.reduce((sum, task) => sum + task.asked, 0);
    const total = tasks.reduce((sum, task) => sum + task.total, 0);
    const who = before === null ? `${origin} alone` : "the merged model";
    accuracyText.textContent = done
      ? `${formatCount(total)} prompts, answered here by ${who} in ${seconds.toFixed(1)} s.`
      : `Asking ${who}: ${formatCount(asked)} of ${formatCount(total)} prompts…`;
    if (before === null) return;
    examples.replaceChildren(
      ...tasks.flatMap(({ example }) =>
        example === null
          ? []
          : [
              el(
                "li",
                {},
                el("code", {}, example.prompt + example.said),
                el("span", { class: example.right ? "right" : "wrong" }, example.right ? " right" : " wrong"),
              ),
            ],
      ),
    );
  };

  return {
    rest() {
      resting = true;
      due ||= accuracy.classList.contains("stale") || asking;
      lab.rest();
    },
    resume() {
      resting = false;
      lookSoon();
      if (due) scoreSoon();
    },
  };
}

async function loadTasks(fetch: Fetch): Promise<{ name: string; text: string }[]> {
  return Promise.all(
    taskNames.map(async (name) => {
      const response = await fetch(`./models/tests/${name}.jsonl`, {});
      if (!response.ok)
        throw new Error(`Cannot load models/tests/${name}.jsonl: the server answered ${response.status}`);
      return { name, text: await response.text() };
    }),
  );
}

/** The numbers of a table in words, each pair once. */
function pairs(names: readonly string[], values: readonly (readonly number[])[]): string {
  return names
    .flatMap((a, i) => names.slice(i + 1).map((b, j) => `${a} and ${b}: ${values[i]![i + 1 + j]!.toFixed(2)}`))
    .join("; ");
}

/** Sets what can be chosen, and keeps the list as it is when nothing changed. */
function options(
  list: HTMLSelectElement,
  names: readonly string[],
  chosen: string,
  title: (name: string) => string,
): void {
  const same =
    list.options.length === names.length && [...list.options].every((option, i) => option.value === names[i]);
  if (!same) list.replaceChildren(...names.map((name) => el("option", { value: name }, title(name))));
  list.value = chosen;
}

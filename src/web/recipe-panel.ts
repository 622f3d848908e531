// The recipe as controls and as text: each writes the other.

import { byId, debounce, el, say } from "./dom.ts";
import { messageOf } from "./models-panel.ts";
import { formDtypes, formMethods, type Knob, methodOf, type RecipeForm, textOf, withMethod } from "./recipe-form.ts";
import type { Store } from "./state.ts";

/** Text is taken up when typing pauses. */
const typingMs = 400;

/** A slider and a field for the same number. */
function knobRow(knob: Knob, value: number, change: (value: number) => void): HTMLElement {
  const id = `knob-${knob.key}`;
  const range = { min: knob.min, max: knob.max, step: knob.step };
  const slider = el("input", { type: "range", id, ...range, value, "aria-describedby": `${id}-help` });
  const field = el("input", {
    type: "number",
    ...range,
    value,
    "aria-label": `${knob.label}, as a number`,
    inputmode: "decimal",
  });
  slider.addEventListener("input", () => {
    field.value = slider.value;
    change(Number(slider.value));
  });
  field.addEventListener("input", () => {
    const number = field.valueAsNumber;
    if (Number.isNaN(number)) return;
    slider.value = String(number);
    change(number);
  });
  return el(
    "div",
    { class: "knob", "data-key": knob.key },
    el("label", { for: id }, knob.label),
    slider,
    field,
    el("p", { class: "quiet help", id: `${id}-help` }, knob.help),
  );
}

function select(
  id: string,
  label: string,
  options: readonly (readonly [string, string])[],
  value: string,
  change: (value: string) => void,
) {
  const list = options.some(([name]) => name === value) ? options : [[value, value] as const, ...options];
  const made = el(
    "select",
    { id },
    ...list.map(([name, title]) => el("option", { value: name, selected: name === value }, title)),
  );
  made.addEventListener("change", () => change(made.value));
  return el("div", { class: "field" }, el("label", { for: id }, label), made);
}

const weightKnob: Omit<Knob, "key" | "label"> = { help: "", min: -1, max: 2, step: 0.05, start: 1 };

export function recipePanel(store: Store): void {
  const controls = byId("controls");
  const yaml = byId<HTMLTextAreaElement>("yaml");
  const status = byId("recipe-status");
  const input = byId<HTMLInputElement>("recipe-input");
  let writing = false;

  controls.addEventListener("submit", (event) => event.preventDefault());
  /** Writes the recipe; the controls that were moved stay as they are, so that a slider keeps its focus. */
  const write = (form: RecipeForm) => {
    writing = true;
    store.setText(textOf(form), "recipe.yml");
    writing = false;
  };
  const rewrite = (form: RecipeForm, focus: string) => {
    write(form);
    build();
    document.getElementById(focus)?.focus();
  };

  const build = (): void => {
    const { form, mounts } = store.get();
    if (!form) {
      controls.replaceChildren(
        el(
          "p",
          { class: "note" },
          "This recipe says more than the controls can show. It is merged as it is written below.",
        ),
        methodSelect("", (name) => rewrite(startForm(name), "method")),
      );
      return;
    }
    const method = methodOf(form.method)!;
    const names = mounts.map(({ name }) => name);
    const base = method.base === "needed" ? (form.base ?? "") : null;
    controls.replaceChildren(
      methodSelect(form.method, (name) =>
        rewrite(withMethod(store.get().form!, name, baseFor(store.get().form!)), "method"),
      ),
      el("p", { class: "quiet about" }, method.about),
      ...(base === null
        ? []
        : [
            select(
              "base",
              "Base",
              names.map((name) => [name, name]),
              base,
              (value) =>
                rewrite(
                  {
                    ...store.get().form!,
                    base: value,
                    models: store.get().form!.models.filter((m) => m.model !== value),
                  },
                  "base",
                ),
            ),
          ]),
      modelRows(form, names),
      ...method.knobs.map((knob) =>
        knobRow(knob, form.values[knob.key]!, (value) => {
          const now = store.get().form!;
          write({ ...now, values: { ...now.values, [knob.key]: value } });
        }),
      ),
      el("div", { class: "row" }, ...(method.random ? [seedField(form)] : []), dtypeSelect(form)),
    );
  };

  const methodSelect = (value: string, change: (name: string) => void) =>
    select(
      "method",
      "Method",
      [
        ...(value === "" ? [["", "Choose to start again with controls"] as const] : []),
        ...formMethods.map(({ name, title }) => [name, title] as const),
      ],
      value,
      change,
    );

  /** The base that a method on changes begins from: the recipe's, or the model that no recipe merges. */
  const baseFor = (form: RecipeForm): string | null => {
    const names = store.get().mounts.map(({ name }) => name);
    const used = new Set(form.models.map(({ model }) => model));
    const listed = form.base !== null && !used.has(form.base) ? form.base : null;
    return (
      listed ??
      names.find((name) => /(^|[/-])base$/.test(name)) ??
      names.find((name) => !used.has(name)) ??
      names[0] ??
      null
    );
  };
  const startForm = (name: string): RecipeForm => {
    const names = store.get().mounts.map((mount) => mount.name);
    const empty: RecipeForm = { method: name, base: null, models: [], values: {}, seed: 42, dtype: "bfloat16" };
    const base = baseFor(empty);
    const models = names.filter((each) => each !== base).map((model) => ({ model, weight: 0.7 }));
    return withMethod({ ...empty, models }, name, base);
  };

  const modelRows = (form: RecipeForm, names: readonly string[]): HTMLElement => {
    const method = methodOf(form.method)!;
    const all = [...new Set([...form.models.map(({ model }) => model), ...names])].filter(
      (name) => method.base !== "needed" || name !== form.base,
    );
    const rows = all.map((name, i) => {
      const used = form.models.find(({ model }) => model === name);
      const id = `use-${i}`;
      const box = el("input", { type: "checkbox", id, checked: used !== undefined });
      box.addEventListener("change", () => {
        const now = store.get().form!;
        const others = now.models.filter(({ model }) => model !== name);
        // In the order of the list: it decides which random mask a model has.
        const models = box.checked ? [...others, { model: name, weight: others[0]?.weight ?? 1 }] : others;
        models.sort((a, b) => all.indexOf(a.model) - all.indexOf(b.model));
        rewrite(withMethod({ ...now, models }, now.method, now.base), id);
      });
      const cells: HTMLElement[] = [el("div", { class: "pick" }, box, el("label", { for: id }, name))];
      if (used && method.weights) {
        const row = knobRow(
          { ...weightKnob, key: `weight-${i}`, label: `Weight of ${name}` },
          used.weight,
          (weight) => {
            const now = store.get().form!;
            write({ ...now, models: now.models.map((m) => (m.model === name ? { ...m, weight } : m)) });
          },
        );
        row.classList.add("weight");
        cells.push(row);
      }
      return el("li", {}, ...cells);
    });
    const legend = method.models === "two" ? "Two models" : "Models and their weights";
    return el("fieldset", { class: "uses" }, el("legend", {}, legend), el("ul", {}, ...rows));
  };

  const seedField = (form: RecipeForm): HTMLElement => {
    const field = el("input", { type: "number", id: "seed", min: 0, step: 1, value: form.seed, inputmode: "numeric" });
    field.addEventListener("input", () => {
      if (Number.isInteger(field.valueAsNumber)) write({ ...store.get().form!, seed: field.valueAsNumber });
    });
    return el("div", { class: "field" }, el("label", { for: "seed" }, "Seed"), field);
  };
  const dtypeSelect = (form: RecipeForm) =>
    select(
      "dtype",
      "Stored as",
      formDtypes.map((name) => [name, name]),
      form.dtype,
      (dtype) => write({ ...store.get().form!, dtype }),
    );

  const take = () => {
    if (yaml.value !== store.get().text) store.setText(yaml.value, "recipe.yml");
  };
  yaml.addEventListener("input", debounce(typingMs, take));
  // At once when something else is reached for: what is merged is what is seen.
  yaml.addEventListener("change", take);
  store.listen((change) => {
    if (change === "recipe" && yaml.value !== store.get().text) yaml.value = store.get().text;
    if (!writing) build();
  });

  byId("import").addEventListener("click", () => input.click());
  input.addEventListener("change", async () => {
    const file = input.files?.[0];
    input.value = "";
    if (!file) return;
    if (file.size > 1 << 20)
      return say(status, `Cannot import ${file.name}: it has ${file.size} bytes, the limit is ${1 << 20}`, "error");
    try {
      await store.setTextFrom(file.text(), file.name);
    } catch (error) {
      say(status, `Cannot import ${file.name}: ${messageOf(error)}`, "error");
    }
  });
  byId("export").addEventListener("click", () =>
    download(new Blob([store.get().text], { type: "text/yaml" }), store.get().file),
  );
}

/** Hands a file to the browser's downloads. */
export function download(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = el("a", { href: url, download: name });
  link.click();
  // The download has its own hold on the bytes by then.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

// What the page holds: models, and one recipe as text. Panels show it and are told when it changes.

import type { Mount } from "./mounts.ts";
import { formOf, type RecipeForm } from "./recipe-form.ts";

export type Change = "models" | "recipe";

export interface State {
  readonly mounts: readonly Mount[];
  readonly text: string;
  /** For messages: the name of the file that the recipe came from. */
  readonly file: string;
  /** Null: the recipe says more than the controls can. */
  readonly form: RecipeForm | null;
}

export interface Store {
  get(): State;
  addMounts(mounts: readonly Mount[]): void;
  removeMount(name: string): void;
  setText(text: string, file?: string): void;
  /** Sets the text that is on its way, unless another was set or asked for meanwhile: what was asked for last is what is seen. */
  setTextFrom(text: Promise<string>, file: string): Promise<void>;
  listen(listener: (change: Change) => void): void;
}

export function createStore(): Store {
  let state: State = { mounts: [], text: "", file: "recipe.yml", form: null };
  const listeners: ((change: Change) => void)[] = [];
  let textTurn = 0;
  const tell = (change: Change) => {
    for (const listener of listeners) listener(change);
  };
  const setText = (text: string, file = state.file): void => {
    textTurn++;
    if (text === state.text && file === state.file) return;
    state = { ...state, text, file, form: formOf(text) };
    tell("recipe");
  };
  return {
    get: () => state,
    addMounts(mounts) {
      const names = new Set(state.mounts.map(({ name }) => name));
      const added = mounts.map((mount) => {
        const name = freeName(mount.name, names);
        names.add(name);
        return { ...mount, name };
      });
      state = { ...state, mounts: [...state.mounts, ...added] };
      tell("models");
    },
    removeMount(name) {
      state = { ...state, mounts: state.mounts.filter((mount) => mount.name !== name) };
      tell("models");
    },
    setText,
    async setTextFrom(text, file) {
      const turn = ++textTurn;
      const arrived = await text;
      if (turn === textTurn) setText(arrived, file);
    },
    listen: (listener) => void listeners.push(listener),
  };
}

function freeName(name: string, taken: ReadonlySet<string>): string {
  if (!taken.has(name)) return name;
  let n = 2;
  while (taken.has(`${name}-${n}`)) n++;
  return `${name}-${n}`;
}

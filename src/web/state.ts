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
  listen(listener: (change: Change) => void): void;
}

export function createStore(): Store {
  let state: State = { mounts: [], text: "", file: "recipe.yml", form: null };
  const listeners: ((change: Change) => void)[] = [];
  const tell = (change: Change) => {
    for (const listener of listeners) listener(change);
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
    setText(text, file = state.file) {
      if (text === state.text && file === state.file) return;
      state = { ...state, text, file, form: formOf(text) };
      tell("recipe");
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

// What is found while parameters are resolved: bad values, told once each, and filters that match no tensor.

import { BraidError, type Diagnostic, type Position, quote } from "../errors.ts";
import type { ParsedRecipe } from "./parsed.ts";
import { matches } from "./select.ts";
import type { Setting } from "./settings.ts";

export interface Troubles {
  /** `model`: index into the recipe's models, where the value is of one model. */
  readonly add: (at: Position, message: string, model: number | undefined, tensor: string) => void;
  readonly throwIfAny: () => void;
}

/** Bad values, each told once with the first tensor it was met at and the number of others. */
export function collectTroubles(recipe: ParsedRecipe): Troubles {
  const found = new Map<string, { at: Position; message: string; tensor: string; count: number }>();
  const diagnose = ({
    at,
    message,
    tensor,
    count,
  }: {
    at: Position;
    message: string;
    tensor: string;
    count: number;
  }): Diagnostic => {
    const more = count > 1 ? ` and ${count - 1} more tensor${count > 2 ? "s" : ""}` : "";
    return { kind: "recipe-parameter", message: `${message} at ${quote(tensor)}${more}`, where: at };
  };
  return {
    add(at, message, model, tensor) {
      const whole = message + (model === undefined ? "" : ` for ${quote(recipe.models[model]!.display)}`);
      // A gradient gives every layer another value: one place, one message.
      const key = `${at.line}:${at.column}:${whole.replace(/, found .*?(?= for |$)/, "")}`;
      const before = found.get(key);
      if (before) before.count++;
      else found.set(key, { at, message: whole, tensor, count: 1 });
    },
    throwIfAny() {
      if (found.size === 0) return;
      const list = [...found.values()].map(diagnose);
      throw new BraidError(list.sort((a, b) => a.where!.line - b.where!.line || a.where!.column - b.where!.column));
    },
  };
}

export interface WatchedFilters {
  readonly ask: (setting: Setting, tensor: string) => void;
  readonly unmatched: () => Diagnostic[];
}

/** Which filters of the settings that were asked are part of no tensor's name. */
export function watchFilters(): WatchedFilters {
  const asked = new Map<Setting, Set<number>>();
  return {
    ask(setting, tensor) {
      let unseen = asked.get(setting);
      if (!unseen) {
        unseen = new Set(setting.cases.keys());
        asked.set(setting, unseen);
      }
      for (const i of unseen) if (matches(setting.cases[i]!.filter, tensor)) unseen.delete(i);
    },
    unmatched() {
      return [...asked].flatMap(([setting, unseen]) =>
        [...unseen].map((i): Diagnostic => {
          const { filter, at } = setting.cases[i]!;
          const message = `The filter ${quote(filter ?? "*")} of ${quote(setting.name)} matches no tensor`;
          return { kind: "recipe-parameter", message, where: at };
        }),
      );
    },
  };
}

// The page's end of the lab. Of orders of one kind only the newest is answered.

import { errorFromWire } from "../exec/messages.ts";
import type { FromLab, LookOrder, LookResult, ScoreOrder, ToLab } from "./lab-messages.ts";

export type Scored = Extract<FromLab, { type: "scored" }>;

export interface Lab {
  /** Resolves with null when a newer order came. */
  look(order: LookOrder): Promise<LookResult | null>;
  /** Resolves when the last prompt was answered, with false when a newer order came. */
  score(order: ScoreOrder, hear: (scored: Scored) => void): Promise<boolean>;
  /** Stops what is under way, as a newer order would. */
  rest(): void;
}

type Order = Exclude<ToLab, { type: "rest" }>;

interface Call {
  readonly id: number;
  readonly hear: (message: FromLab) => void;
  readonly replaced: () => void;
  readonly reject: (error: Error) => void;
}

export function createLab(createWorker: () => Worker): Lab {
  let worker: Worker | null = null;
  let nextId = 1;
  const calls = new Map<Order["type"], Call>();
  const start = (): Worker => {
    if (worker) return worker;
    worker = createWorker();
    worker.onmessage = ({ data }: MessageEvent<FromLab>) => {
      const call = [...calls.values()].find(({ id }) => id === data.id);
      if (data.type === "failed") call?.reject(errorFromWire(data.error));
      else call?.hear(data);
    };
    worker.onerror = (event) => {
      worker?.terminate();
      worker = null;
      for (const call of calls.values())
        call.reject(new Error(`The lab stopped: ${event.message ?? "it could not be loaded"}`));
      calls.clear();
    };
    return worker;
  };
  const ask = (message: (id: number) => Order, call: (id: number) => Call): void => {
    const id = nextId++;
    const made = message(id);
    calls.get(made.type)?.replaced();
    calls.set(made.type, call(id));
    start().postMessage(made);
  };
  return {
    rest() {
      for (const call of calls.values()) call.replaced();
      calls.clear();
      worker?.postMessage({ type: "rest" } satisfies ToLab);
    },
    look(order) {
      const { promise, resolve, reject } = Promise.withResolvers<LookResult | null>();
      ask(
        (id) => ({ type: "look", id, order }),
        (id) => ({
          id,
          hear: (message) => message.type === "looked" && resolve(message.result),
          replaced: () => resolve(null),
          reject,
        }),
      );
      return promise;
    },
    score(order, hear) {
      const { promise, resolve, reject } = Promise.withResolvers<boolean>();
      ask(
        (id) => ({ type: "score", id, order }),
        (id) => ({
          id,
          hear(message) {
            if (message.type !== "scored") return;
            hear(message);
            if (message.done) resolve(true);
          },
          replaced: () => resolve(false),
          reject,
        }),
      );
      return promise;
    },
  };
}

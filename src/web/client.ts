// The page's end of the coordinator.

import { errorFromWire } from "../exec/messages.ts";
import type { MergeSummary } from "../host.ts";
import type { FromCoordinator, MergeOrder, PlanFacts, ProgressFacts, ToCoordinator } from "./protocol.ts";

export interface Coordinator {
  plan(order: MergeOrder): Promise<PlanFacts>;
  merge(order: MergeOrder, hear: (what: ProgressFacts | string) => void, signal: AbortSignal): Promise<MergeSummary>;
}

interface Call {
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
  readonly hear: ((what: ProgressFacts | string) => void) | undefined;
}

/** Starts the coordinator with the first call. */
export function createCoordinator(createWorker: () => Worker): Coordinator {
  let worker: Worker | null = null;
  let nextId = 1;
  const calls = new Map<number, Call>();

  const settle = (id: number, use: (call: Call) => void) => {
    const call = calls.get(id);
    calls.delete(id);
    if (call) use(call);
  };
  const start = (): Worker => {
    if (worker) return worker;
    worker = createWorker();
    worker.onmessage = ({ data }: MessageEvent<FromCoordinator>) => {
      const { id } = data;
      if (data.type === "progress") calls.get(id)?.hear?.(data.facts);
      else if (data.type === "note") calls.get(id)?.hear?.(data.text);
      else if (data.type === "failed") settle(id, (call) => call.reject(errorFromWire(data.error)));
      else settle(id, (call) => call.resolve((data.type === "merged" ? data.summary : data.facts) as never));
    };
    worker.onerror = (event) => {
      worker?.terminate();
      worker = null;
      for (const id of [...calls.keys()]) {
        settle(id, (call) =>
          call.reject(new Error(`The worker that merges stopped: ${event.message ?? "it could not be loaded"}`)),
        );
      }
    };
    return worker;
  };
  const ask = <T>(message: (id: number) => ToCoordinator, hear?: Call["hear"], signal?: AbortSignal): Promise<T> => {
    const id = nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    calls.set(id, { resolve: resolve as (value: never) => void, reject, hear });
    start().postMessage(message(id));
    signal?.addEventListener("abort", () => start().postMessage({ type: "cancel", id } satisfies ToCoordinator), {
      once: true,
    });
    return promise;
  };
  return {
    plan: (order) => ask((id) => ({ type: "plan", id, order })),
    merge: (order, hear, signal) => ask((id) => ({ type: "merge", id, order }), hear, signal),
  };
}

// The entry of the worker that plans and merges for the page.

import { BraidError, formatDiagnostic } from "../errors.ts";
import { errorToWire } from "../exec/messages.ts";
import { defaultRequest, type MergeEvent, type MergeRequest } from "../host.ts";
import { merge } from "../merge.ts";
import { prepare } from "../prepare.ts";
import { createWebHost } from "./host.ts";
import type { FromCoordinator, MergeOrder, PlanFacts, ToCoordinator } from "./protocol.ts";

const scope = globalThis as unknown as {
  postMessage(message: FromCoordinator): void;
  addEventListener(type: "message", listener: (event: MessageEvent<ToCoordinator>) => void): void;
};

const running = new Map<number, AbortController>();

function requestOf({ recipe, settings }: MergeOrder): MergeRequest {
  return { ...defaultRequest, ...settings, recipe: { ...recipe, folder: "/" } };
}

function reportTo(id: number): (event: MergeEvent) => void {
  return (event) => {
    if (event.type === "progress") {
      const { doneBytes, totalBytes, seconds, tensor } = event;
      scope.postMessage({ type: "progress", id, facts: { doneBytes, totalBytes, seconds, tensor } });
    } else if (event.type === "hashing") {
      scope.postMessage({ type: "note", id, text: `Hashing ${event.file}` });
    }
  };
}

async function plan(order: MergeOrder, signal: AbortSignal): Promise<PlanFacts> {
  const host = await createWebHost({ ...order, report: () => {}, signal });
  const { plan, planSha256, warnings } = await prepare(requestOf(order), host);
  return {
    method: plan.method,
    tensors: plan.tensors.length,
    parameters: plan.parameters,
    bytesRead: plan.bytesRead,
    bytesWritten: plan.bytesWritten,
    peakBytes: plan.memory.peakBytes,
    workers: plan.memory.workers,
    planSha256,
    warnings: warnings.map(formatDiagnostic),
  };
}

async function handle(message: ToCoordinator): Promise<void> {
  const { id } = message;
  if (message.type === "cancel") {
    running.get(id)?.abort(new BraidError({ kind: "interrupted", message: "Stopped: nothing of the output was kept" }));
    return;
  }
  const { order } = message;
  const controller = new AbortController();
  running.set(id, controller);
  try {
    if (message.type === "plan") {
      scope.postMessage({ type: "planned", id, facts: await plan(order, controller.signal) });
      return;
    }
    const host = await createWebHost({ ...order, report: reportTo(id), signal: controller.signal });
    try {
      const summary = await merge(requestOf(order), order.out, { overwrite: order.overwrite }, host);
      scope.postMessage({ type: "merged", id, summary });
    } finally {
      host.end();
    }
  } catch (error) {
    scope.postMessage({ type: "failed", id, error: errorToWire(error) });
  } finally {
    running.delete(id);
  }
}

scope.addEventListener("message", ({ data }) => void handle(data));

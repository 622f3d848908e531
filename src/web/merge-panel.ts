// Merging for real: where to, what it will take, how far it is, what came out.

import { isBraidError } from "../errors.ts";
import type { MergeSummary } from "../host.ts";
import type { Coordinator } from "./client.ts";
import { button, byId, debounce, el, say } from "./dom.ts";
import { formatBytes, formatCount, formatMemory, formatSeconds, formatShare } from "./format.ts";
import { messageOf } from "./models-panel.ts";
import type { FolderHandle } from "./platform.ts";
import { listOutputs, removeOutput } from "./private-stage.ts";
import type { MergeOrder, ProgressFacts } from "./protocol.ts";
import { download } from "./recipe-panel.ts";
import type { Store } from "./state.ts";
import { tar } from "./tar.ts";

const planMs = 350;

type PickFolder = (options: { mode: "readwrite" }) => Promise<FolderHandle>;

/** Is told when a merge begins and ends. */
export interface Watcher {
  rest(): void;
  resume(): void;
}

export function mergePanel(store: Store, coordinator: Coordinator, watcher: Watcher): { refreshKept(): Promise<void> } {
  const form = byId<HTMLFormElement>("merge-form");
  const out = byId<HTMLInputElement>("out");
  const memory = byId<HTMLInputElement>("memory");
  const planned = byId("plan");
  const recipeStatus = byId("recipe-status");
  const start = byId<HTMLButtonElement>("start");
  const stop = byId<HTMLButtonElement>("stop");
  const status = byId("merge-status");
  const block = byId("progress-block");
  const progress = byId<HTMLProgressElement>("progress");
  const progressText = byId("progress-text");
  const result = byId("result");
  const pick = byId<HTMLButtonElement>("pick-folder");
  const picked = byId("picked");
  const showDirectoryPicker = () => (window as unknown as { showDirectoryPicker?: PickFolder }).showDirectoryPicker;
  let folder: FolderHandle | null = null;
  let running: AbortController | null = null;

  const toFolder = () => new FormData(form).get("where") === "folder";
  const order = (): MergeOrder => ({
    recipe: { text: store.get().text, file: store.get().file },
    settings: { memoryBytes: Math.max(1, memory.valueAsNumber || 256) * 1024 * 1024 },
    mounts: store.get().mounts,
    out: `/${out.value.trim()}`,
    overwrite: true,
    folder: toFolder() ? folder : null,
  });

  let planTurn = 0;
  const plan = async (): Promise<void> => {
    const turn = ++planTurn;
    if (store.get().text === "" || store.get().mounts.length === 0) return;
    try {
      const facts = await coordinator.plan({ ...order(), folder: null });
      if (turn !== planTurn) return;
      say(recipeStatus, facts.warnings.join("\n"));
      planned.textContent =
        `${formatCount(facts.tensors)} tensors, ${formatCount(facts.parameters)} parameters: ${formatBytes(facts.bytesRead)} to read, ` +
        `${formatBytes(facts.bytesWritten)} to write, at most ${formatMemory(facts.peakBytes)}, ${facts.workers} ${facts.workers === 1 ? "worker" : "workers"}.`;
    } catch (error) {
      if (turn !== planTurn) return;
      planned.textContent = "";
      say(recipeStatus, messageOf(error), "error");
    }
  };
  const planSoon = debounce(planMs, () => void plan());
  store.listen(planSoon);
  memory.addEventListener("input", planSoon);

  const choosePlace = () => {
    pick.hidden = !toFolder();
    picked.textContent = !toFolder() ? "" : folder ? `${folder.name}/${out.value}` : "";
    if (toFolder() && !showDirectoryPicker()) {
      picked.textContent =
        "This browser cannot write into folders; Chromium-based ones can. Merge into this browser and download.";
      pick.hidden = true;
    }
  };
  form.addEventListener("change", choosePlace);
  pick.addEventListener("click", async () => {
    try {
      folder = (await showDirectoryPicker()?.({ mode: "readwrite" })) ?? null;
    } catch (error) {
      if ((error as Error).name !== "AbortError") say(status, messageOf(error), "error");
    }
    choosePlace();
  });

  const hear = (what: ProgressFacts | string) => {
    if (typeof what === "string") {
      progressText.textContent = what;
      return;
    }
    const { doneBytes, totalBytes, seconds } = what;
    const share = totalBytes > 0 ? doneBytes / totalBytes : 0;
    progress.value = share;
    const left = share > 0.01 ? `, ${formatSeconds((seconds * (1 - share)) / share)} left` : "";
    const rate = seconds > 0 ? `, ${(doneBytes / seconds / 1e9).toFixed(2)} GB/s` : "";
    progressText.textContent = `${formatShare(share, 0)} of ${formatBytes(totalBytes)}${rate}${left}`;
  };

  const run = async (): Promise<void> => {
    if (out.value.trim() === "") return say(status, "Give the output a name.", "error");
    if (toFolder() && !folder) return say(status, "Choose the folder that the output goes into.", "error");
    running = new AbortController();
    watcher.rest();
    start.disabled = true;
    stop.hidden = false;
    block.hidden = false;
    progress.value = 0;
    progressText.textContent = "";
    result.replaceChildren();
    say(status, "Merging…");
    const sent = order();
    try {
      const summary = await coordinator.merge(sent, hear, running.signal);
      say(status, `Merged ${formatCount(summary.tensors)} tensors in ${formatSeconds(summary.seconds)}.`, "done");
      result.replaceChildren(summaryTable(summary));
    } catch (error) {
      const stopped = isBraidError(error) && error.kind === "interrupted";
      say(status, messageOf(error), stopped ? "note" : "error");
    } finally {
      running = null;
      watcher.resume();
      start.disabled = false;
      if (document.activeElement === stop) start.focus();
      stop.hidden = true;
      block.hidden = true;
    }
    await refreshKept();
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!running) void run();
  });
  stop.addEventListener("click", () => running?.abort());
  // A merge that is closed by accident is lost.
  window.addEventListener("beforeunload", (event) => {
    if (running) event.preventDefault();
  });

  const refreshKept = async (): Promise<void> => {
    const outputs = await listOutputs().catch(() => []);
    byId("kept").hidden = outputs.length === 0;
    byId("kept-list").replaceChildren(
      ...outputs.map(({ name, files }) => {
        const bytes = files.reduce((sum, file) => sum + file.size, 0);
        const blobs = files.map((file) => ({ name: file.name, blob: file as Blob }));
        return el(
          "li",
          {},
          el(
            "div",
            { class: "row" },
            el("span", { class: "name" }, name),
            el("span", { class: "quiet" }, `${formatBytes(bytes)}, ${files.length} files`),
          ),
          el(
            "div",
            { class: "row" },
            button("Download all (.tar)", () => download(tar(name, blobs), `${name}.tar`), {
              "aria-label": `Download all of ${name} as a tar archive`,
            }),
            button("Delete", () => void removeOutput(name).then(refreshKept), { "aria-label": `Delete ${name}` }),
          ),
          el(
            "details",
            {},
            el("summary", {}, `Files of ${name}`),
            el(
              "ul",
              {},
              ...files.map((file) =>
                el(
                  "li",
                  {},
                  button(file.name, () => download(file, file.name), { class: "link" }),
                  el("span", { class: "quiet" }, ` ${formatBytes(file.size)}`),
                ),
              ),
            ),
          ),
        );
      }),
    );
  };
  return { refreshKept };
}

function summaryTable(summary: MergeSummary): HTMLElement {
  const { bytesRead, bytesWritten, seconds } = summary;
  const row = (name: string, ...value: (Node | string)[]) => el("div", {}, el("dt", {}, name), el("dd", {}, ...value));
  return el(
    "dl",
    { class: "summary" },
    ...summary.files.map(({ name, byteLength, sha256 }) =>
      row(
        `SHA-256 of ${name}`,
        el("code", { class: "hash" }, sha256 ?? "not hashed"),
        el("span", { class: "quiet" }, ` ${formatBytes(byteLength)}`),
      ),
    ),
    row(
      "Rate",
      `${((bytesRead + bytesWritten) / Math.max(seconds, 1e-3) / 1e9).toFixed(2)} GB/s, ${summary.workers} workers`,
    ),
    ...summary.dropRates.map(({ model, asked, actual }) =>
      row(`Dropped of ${model}`, `${formatShare(actual, 3)}${asked === null ? "" : ` of ${formatShare(asked)} asked`}`),
    ),
    ...summary.densities.map(({ model, asked, actual }) =>
      row(`Kept of ${model}`, `${formatShare(actual, 3)}${asked === null ? "" : ` of ${formatShare(asked)} asked`}`),
    ),
    row("Memory planned", formatMemory(summary.plannedPeakBytes)),
    row("Plan", el("code", { class: "hash" }, summary.planSha256)),
  );
}

// The list of models, and the ways to add one.

import { isBraidError } from "../errors.ts";
import { button, byId, el, say } from "./dom.ts";
import { formatBytes } from "./format.ts";
import { mountExamples, mountsOf, mountUrl, readDrop, readInput } from "./intake.ts";
import { byteLengthOf, type Mount } from "./mounts.ts";
import type { Store } from "./state.ts";
import type { Fetch } from "./url-source.ts";

/** The message of an error, as the command line would give it. */
export function messageOf(error: unknown): string {
  if (isBraidError(error)) return error.message;
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

export function modelsPanel(store: Store, fetch: Fetch): { addExamples(): Promise<void> } {
  const status = byId("models-status");
  const list = byId("model-list");
  const drop = byId("drop");
  const folderInput = byId<HTMLInputElement>("folder-input");
  const filesInput = byId<HTMLInputElement>("files-input");
  const url = byId<HTMLInputElement>("url");

  const add = async (what: string, mounts: () => Promise<readonly Mount[]>): Promise<void> => {
    say(status, `Adding ${what}…`);
    try {
      const found = await mounts();
      store.addMounts(found);
      say(status, `Added ${found.map(({ name }) => name).join(", ")}.`);
    } catch (error) {
      say(status, messageOf(error), "error");
    }
  };
  const looseName = () => `model-${store.get().mounts.length + 1}`;

  byId("add-folder").addEventListener("click", () => folderInput.click());
  byId("add-files").addEventListener("click", () => filesInput.click());
  for (const input of [folderInput, filesInput]) {
    input.addEventListener("change", () => {
      const handed = readInput(input.files!);
      void add("files", async () => mountsOf(handed, looseName()));
      input.value = "";
    });
  }
  const addExamples = () => {
    const have = new Set(store.get().mounts.map(({ name }) => name));
    return add("the example models", async () => (await mountExamples(fetch)).filter(({ name }) => !have.has(name)));
  };
  byId("add-examples").addEventListener("click", () => void addExamples());
  byId("url-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = url.value.trim();
    if (text === "")
      return say(status, "Type the address of a folder with a model, or of a .safetensors file.", "error");
    void add(text, async () => [await mountUrl(text, document.baseURI, fetch)]).then(() => {
      if (status.dataset.kind !== "error") url.value = "";
    });
  });
  for (const type of ["dragenter", "dragover"] as const) {
    document.addEventListener(type, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (!event.dataTransfer) return;
    const handed = readDrop(event.dataTransfer);
    void add("what was dropped", async () => mountsOf(await handed, looseName()));
  });

  const show = () => {
    const { mounts } = store.get();
    list.replaceChildren(
      ...mounts.map(({ name, files }) => {
        const bytes = [...files.values()].reduce((sum, file) => sum + byteLengthOf(file), 0);
        const where = [...files.values()].some(({ kind }) => kind === "url") ? "read by ranges" : null;
        const facts = [formatBytes(bytes), `${files.size} ${files.size === 1 ? "file" : "files"}`, where];
        return el(
          "li",
          {},
          el("span", { class: "name" }, name),
          el("span", { class: "quiet" }, facts.filter(Boolean).join(", ")),
          button("Remove", () => store.removeMount(name), { "aria-label": `Remove ${name}`, class: "small" }),
        );
      }),
    );
  };
  store.listen((change) => {
    if (change === "models") show();
  });
  return { addExamples };
}

// The entry of the page.

import { createCoordinator } from "./client.ts";
import { byId, say } from "./dom.ts";
import { createLab } from "./lab-client.ts";
import { lookPanel } from "./look-panel.ts";
import { mergePanel } from "./merge-panel.ts";
import { messageOf, modelsPanel } from "./models-panel.ts";
import { adoptChartStyles } from "./pictures.ts";
import { removeLeftovers } from "./private-stage.ts";
import { recipePanel } from "./recipe-panel.ts";
import { createStore } from "./state.ts";

const store = createStore();
const coordinator = createCoordinator(
  () => new Worker(new URL("./coordinator.ts", import.meta.url), { type: "module" }),
);
const load = (url: string, init: RequestInit) => fetch(url, init);

const lab = createLab(() => new Worker(new URL("./lab.ts", import.meta.url), { type: "module" }));

adoptChartStyles();
const models = modelsPanel(store, load);
recipePanel(store);
const looking = lookPanel(store, lab, load);
const merging = mergePanel(store, coordinator, looking);

async function demoText(): Promise<string> {
  const response = await load("./dare-ties.yml", {});
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return response.text();
}

/** The recipe of the demo, as it lies in examples/. */
async function demoRecipe(): Promise<void> {
  try {
    await store.setTextFrom(demoText(), "dare-ties.yml");
  } catch (error) {
    say(byId("recipe-status"), `Cannot load the demo's recipe: ${messageOf(error)}`, "error");
  }
}
byId("reset").addEventListener("click", () => void demoRecipe());

await demoRecipe();
await models.addExamples();
await removeLeftovers().catch(() => {});
await merging.refreshKept();

// What a recipe calls a model, opened: a checkpoint, a checkpoint with an adapter (`base+lora`), or an adapter alone, which
// belongs on the recipe's base. The masks of a model in an EMR export are an adapter too.

import type { Folder } from "./bytes/source.ts";
import { BraidError, fail, isBraidError, quote } from "./errors.ts";
import type { Host, MergeRequest } from "./host.ts";
import { adaptModel } from "./plan/adapt.ts";
import { maskedModel } from "./plan/masked.ts";
import type { InputModel } from "./plan/model.ts";
import { withScales } from "./plan/scales.ts";
import { type LoraReference, type ModelReference, parseModelText } from "./recipe/model.ts";
import type { ParsedRecipe } from "./recipe/recipe.ts";
import { isAdapterFolder, openAdapter } from "./tensor/adapter.ts";
import { openCheckpoint } from "./tensor/checkpoint.ts";
import type { FloatDtype } from "./tensor/dtype.ts";
import { emrModelFiles, emrUnifiedName, isEmrFolder, openEmrModel } from "./tensor/emr.ts";
import { type ModelLocation, type ModelPlaces, resolveModel } from "./tensor/locate.ts";

export interface OpenedModel {
  readonly model: InputModel;
  readonly location: ModelLocation;
}

type Rounding = FloatDtype | "weight" | null;

interface Places extends ModelPlaces {
  /** Outputs of earlier recipes of the file, by name. */
  readonly outputs: ReadonlyMap<string, Folder>;
}

/**
 * Opens every model of the recipe, in its order. `outputs`: what names of earlier recipes of the file stand for.
 *
 * @throws BraidError with all that is wrong with any of them.
 */
export async function openModels(
  recipe: ParsedRecipe,
  request: MergeRequest,
  host: Host,
  outputs: ReadonlyMap<string, Folder>,
): Promise<OpenedModel[]> {
  const results = await tryModels(recipe, request, host, outputs);
  const wrong = results.filter(isBraidError);
  if (wrong.length > 0) throw new BraidError(wrong.flatMap((e) => e.diagnostics));
  return results as OpenedModel[];
}

/** The same, with the error in the place of a model that cannot be opened. */
export async function tryModels(
  recipe: ParsedRecipe,
  request: MergeRequest,
  host: Host,
  outputs: ReadonlyMap<string, Folder>,
): Promise<(OpenedModel | BraidError)[]> {
  const places = { cwd: host.cwd, recipeFolder: request.recipe.folder, env: host.env, home: host.home, outputs };
  const base = recipe.base === null ? null : recipe.models[recipe.base]!;
  // mergekit folds in the dtype that the model is stored in, unless --lora-merge-dtype says otherwise.
  const round: Rounding = request.loraMergeDtype ?? (request.compat === "mergekit" ? "weight" : null);
  const opened: (OpenedModel | BraidError)[] = [];
  for (const model of recipe.models) {
    try {
      opened.push(await openModel(model, model === base ? null : base, places, host, round));
    } catch (error) {
      if (!isBraidError(error)) throw error;
      opened.push(error);
    }
  }
  return opened;
}

/** Opens one model by what a recipe would call it. */
export async function openNamed(text: string, host: Host, recipeFolder?: string): Promise<OpenedModel> {
  const reference = parseModelText(text) ?? { path: text, display: text };
  const places = { cwd: host.cwd, recipeFolder, env: host.env, home: host.home, outputs: new Map<string, Folder>() };
  return openModel(reference, null, places, host, null);
}

/** `onto`: what an adapter that is named like a model is folded into; null: what its own config names. */
async function openModel(
  { lora, ...model }: ModelReference,
  onto: ModelReference | null,
  places: Places,
  host: Host,
  round: Rounding,
): Promise<OpenedModel> {
  const display = lora ? `${show(model)}+${show(lora)}` : show(model);
  if (lora) {
    const { model: whole, location } = await openModel(model as ModelReference, null, places, host, round);
    return { model: await fold(whole, lora, display, places, host, round), location };
  }
  const earlier = places.outputs.get(display);
  const location = earlier ? { folder: earlier, display } : await resolveModel(display, places, host.fs);
  const names = await location.folder.list();
  if (isEmrFolder(names)) {
    const { folder, file } = location;
    if (file === undefined) await refuseWhole(display, folder);
    else if (file !== emrUnifiedName) {
      const emr = await openEmrModel(display, folder, file);
      const named = onto ?? { path: emr.baseModel, display: emr.baseModel };
      const whole = await openBase(named, display, places, host, round);
      return { ...whole, model: maskedModel(whole.model, emr, display) };
    }
  }
  if (location.file === undefined && isAdapterFolder(names)) {
    const adapter = await openAdapter(display, location.folder);
    const named = onto ?? (adapter.baseModel === null ? null : { path: adapter.baseModel, display: adapter.baseModel });
    if (!named) {
      fail("adapter", `Cannot use ${quote(display)} as a model: it is an adapter, and nothing says of which model`, {
        hint: "Write it as base+adapter, or give the recipe a base_model.",
      });
    }
    const whole = await openBase(named, display, places, host, round);
    return { ...whole, model: adaptModel(whole.model, adapter, display, round) };
  }
  return { model: withScales(await openCheckpoint(display, location.folder, { file: location.file })), location };
}

async function fold(
  model: InputModel,
  lora: LoraReference,
  display: string,
  places: Places,
  host: Host,
  round: Rounding,
): Promise<InputModel> {
  const location = await resolveModel(show(lora), places, host.fs);
  if (isEmrFolder(await location.folder.list())) {
    if (location.file === undefined) return refuseWhole(show(lora), location.folder);
    return maskedModel(model, await openEmrModel(show(lora), location.folder, location.file), display);
  }
  return adaptModel(model, await openAdapter(show(lora), location.folder), display, round);
}

/** The base that an adapter or an export says it was made with, which may lie elsewhere by now. */
async function openBase(
  base: ModelReference,
  display: string,
  places: Places,
  host: Host,
  round: Rounding,
): Promise<OpenedModel> {
  try {
    return await openModel(base, null, places, host, round);
  } catch (error) {
    if (!isBraidError(error) || error.kind !== "model-not-found") throw error;
    return fail(
      "model-not-found",
      `Cannot open the base of ${quote(display, 4096)}: ${error.diagnostics[0]!.message}`,
      {
        hint: `Write it as base+${display}, with the place where the base is now.`,
      },
    );
  }
}

async function refuseWhole(display: string, folder: Folder): Promise<never> {
  const files = await emrModelFiles(folder);
  const known = files.map((file) => quote(`${display.replace(/[/\\]+$/, "")}/${file}`, 4096)).join(", ");
  return fail("adapter", `Cannot use ${quote(display, 4096)} as a model: it is an EMR export of several`, {
    hint: `Name one of them: ${known}.`,
  });
}

function show({ path, revision }: LoraReference): string {
  return revision === undefined ? path : `${path}@${revision}`;
}

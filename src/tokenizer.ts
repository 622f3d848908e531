// The tokenizer files of the output: whose they are. Vocabularies are not merged yet, so what would need it is refused here.

import { readWhole } from "./bytes/source.ts";
import { fail, quote } from "./errors.ts";
import type { Host } from "./host.ts";
import { modelKey } from "./recipe/model.ts";
import type { ParsedRecipe } from "./recipe/recipe.ts";
import type { Checkpoint } from "./tensor/checkpoint.ts";
import { openCheckpoint } from "./tensor/checkpoint.ts";
import { resolveModel } from "./tensor/locate.ts";

/** Tokenizers with 256k entries are about 35 MB. */
export const maxSidecarBytes = 256_000_000;

/** The model whose tokenizer files are copied. @throws `recipe-unsupported` where vocabularies would have to be merged. */
export async function tokenizerDonor(
  recipe: ParsedRecipe,
  checkpoints: readonly Checkpoint[],
  recipeFolder: string,
  host: Host,
): Promise<Checkpoint> {
  const base = checkpoints[recipe.base ?? 0]!;
  const choice = recipe.tokenizer;
  if (!choice) return base;
  if (choice.tokens.length > 0 || choice.padToMultipleOf !== undefined) {
    fail("recipe-unsupported", "Cannot rebuild the tokenizer: this version does not change vocabularies yet", {
      where: choice.at,
      hint: "Leave out tokenizer.tokens and pad_to_multiple_of.",
    });
  }
  if (choice.source.kind === "base") return base;
  if (choice.source.kind === "model") {
    const { model } = choice.source;
    const index = recipe.models.findIndex((m) => modelKey(m) === modelKey(model));
    if (index >= 0) return checkpoints[index]!;
    const reference = model.revision === undefined ? model.path : `${model.path}@${model.revision}`;
    const places = { cwd: host.cwd, recipeFolder, env: host.env, home: host.home };
    const location = await resolveModel(reference, places, host.fs);
    return openCheckpoint(reference, location.folder, { file: location.file });
  }
  // A union of one vocabulary with itself is that vocabulary.
  const texts = await Promise.all(checkpoints.map((c) => vocabularyOf(c, host)));
  const other = texts.findIndex((text) => text !== texts[0]);
  if (other < 0) return base;
  fail(
    "recipe-unsupported",
    `Cannot take the union of the tokenizers of ${quote(checkpoints[0]!.reference)} and ${quote(checkpoints[other]!.reference)}: they differ`,
    {
      where: choice.at,
      hint: "This version does not merge vocabularies yet. Use tokenizer_source: base, if the models share one.",
    },
  );
}

async function vocabularyOf(checkpoint: Checkpoint, host: Host): Promise<string> {
  const folder = host.fs.folder(checkpoint.folder);
  const name = ["tokenizer.json", "tokenizer.model", "vocab.json"].find((n) => checkpoint.sidecars.includes(n));
  if (!name) return "";
  const source = await folder.open(name);
  try {
    const bytes = await readWhole(source, maxSidecarBytes, (n) =>
      fail("model-config", `Cannot read ${quote(source.name)}: it has ${n} bytes, the limit is ${maxSidecarBytes}`),
    );
    let text = `${name}:`;
    for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
    return text;
  } finally {
    await source.close();
  }
}

// What goes beside the tensors: config.json, the files of the tokenizer, the index, the model card and the manifest.

import { utf8ToBytes } from "@noble/hashes/utils.js";
import { fromBase64 } from "./bytes/base64.ts";
import { headSource } from "./bytes/memory.ts";
import { type Folder, readWhole } from "./bytes/source.ts";
import type { Stage } from "./bytes/stage.ts";
import { withTemplate } from "./chat-templates.ts";
import { type Diagnostic, fail, quote } from "./errors.ts";
import type { Host, MergeRequest } from "./host.ts";
import { declaredLicense } from "./license.ts";
import type { Plan } from "./plan/plan.ts";
import { embeddingName } from "./plan/vocabulary.ts";
import type { Prepared } from "./prepare.ts";
import { manifest, modelCard, optionsOf, type Provenance } from "./report.ts";
import { type Config, configText, isRecord, outputConfig, parseJson, textConfig } from "./tensor/config.ts";
import { byteWidth, type FloatDtype, isFloat, torchNames } from "./tensor/dtype.ts";
import { indexJson, indexName, type OutputFile } from "./tensor/shards.ts";
import { cleanSidecar, maxParsedSidecarBytes, tokenizerNames } from "./tensor/sidecars.ts";
import { maxSidecarBytes } from "./tokenizer.ts";
import { type TokenizerFiles, tokenizerFiles } from "./tokenizer-files.ts";

const generationName = "generation_config.json";
const nothingMade: TokenizerFiles = { written: new Map(), dropped: [], warnings: [] };

/** The dtype that the output's config names. */
function mainDtype(plan: Plan): FloatDtype {
  const floats = new Set(plan.tensors.map((t) => t.dtype).filter(isFloat));
  return floats.size === 1 ? [...floats][0]! : "F32";
}

/** The text of the output's config.json, or null where no input has one. */
function configOf(prepared: Prepared): string | null {
  const { plan, recipe, checkpoints, layers, tokenizer } = prepared;
  const donor = checkpoints[recipe.base ?? 0]!;
  if (!donor.config) return null;
  const config = tokenIds(prepared)?.(donor.config, tokenizer.donor.model.config) ?? donor.config;
  const embeddings = plan.tensors.find((t) => embeddingName.test(t.name));
  const hasHead = plan.tensors.some((t) => /(^|\.)(lm_head|embed_out)\.weight$/.test(t.name));
  const tied = donor.configTied === undefined ? undefined : donor.configTied && !hasHead;
  return configText(
    outputConfig(config, {
      dtype: mainDtype(plan),
      ...(tokenizer.joined && embeddings ? { vocabSize: embeddings.shape[0]! } : {}),
      ...(tied === undefined ? {} : { tied }),
      ...(layers ? { numLayers: layers.length, layerSources: layers } : {}),
    }),
  );
}

/**
 * Where the output's tokenizer is another model's than config.json is: rewrites the ids of special tokens in a config or a
 * generation config of the base. The tokenizer's own model says best what they are; else the token keeps its name.
 */
function tokenIds({ recipe, tokenizer }: Prepared): ((config: Config, donor: Config | null) => Config) | null {
  const { joined, donor } = tokenizer;
  const from = recipe.base ?? 0;
  const base = joined?.vocabularies[from];
  if (!joined || !base || donor.index === from || base.digest === joined.donor.digest) return null;
  if (base.ids.size === joined.donor.ids.size && [...base.ids].every(([t, id]) => joined.donor.ids.get(t) === id))
    return null;
  const tokens = new Map([...base.ids].map(([token, id]) => [id, token]));
  const renumber = (id: unknown): unknown => {
    if (Array.isArray(id)) return id.map(renumber).filter((one) => one !== undefined);
    const token = typeof id === "number" ? tokens.get(id) : undefined;
    return token === undefined ? undefined : joined.donor.ids.get(token);
  };
  const isId = (key: string) => /_token_ids?$/.test(key);
  const change = (part: Config, other: Config | null): Config => {
    const out: Config = { ...part };
    for (const key of Object.keys(part).filter(isId)) {
      const id = other && Object.hasOwn(other, key) ? other[key] : renumber(part[key]);
      if (id === undefined) delete out[key];
      else out[key] = id;
    }
    for (const key of Object.keys(other ?? {}).filter(isId)) out[key] ??= other![key];
    return out;
  };
  return (config, other) => {
    const out = change(config, other && textConfig(other));
    if (isRecord(config.text_config)) out.text_config = change(config.text_config, other && textConfig(other));
    return out;
  };
}

/** What a merge will write, for recipes that use it: headers and config, and the tokenizer files that it will copy. */
export function plannedFolder(prepared: Prepared): Folder {
  const { plan, recipe } = prepared;
  const { donor } = prepared.tokenizer;
  const name = recipe.name!;
  const files = new Map(plan.outputs.map((f) => [f.name, { bytes: fromBase64(f.header), byteLength: f.byteLength }]));
  const text = (file: string, content: string) => {
    const bytes = utf8ToBytes(content);
    files.set(file, { bytes, byteLength: bytes.length });
  };
  const config = configOf(prepared);
  if (config !== null) text("config.json", config);
  if (plan.outputs.length > 1) text(indexName, indexJson(outputFiles(plan)));
  let made: Promise<TokenizerFiles | null> | undefined;
  const tokenizer = () => (made ??= tokenizerFiles(prepared.tokenizer));
  return {
    name,
    list: async () => {
      const { written, dropped } = (await tokenizer()) ?? nothingMade;
      const copied = donor.model.sidecars.filter((file) => !dropped.includes(file));
      return [...new Set([...files.keys(), ...copied, ...written.keys()])].sort();
    },
    locate: (file) => `${name}/${file}`,
    open: async (file) => {
      const written = (await tokenizer())?.written.get(file);
      if (written !== undefined) text(file, written);
      const known = files.get(file);
      return known ? headSource(`${name}/${file}`, known.bytes, known.byteLength) : donor.folder.open(file);
    },
  };
}

/** config.json, index, tokenizer files, model card and manifest. */
export async function writeBeside(
  prepared: Prepared,
  request: MergeRequest,
  out: string,
  stage: Stage,
  facts: Parameters<typeof manifest>[1],
  host: Host,
): Promise<void> {
  const { plan, recipe, checkpoints, tokenizer } = prepared;
  const baseIndex = recipe.base ?? 0;
  const donor = checkpoints[baseIndex]!;
  const dtype = mainDtype(plan);
  const config = configOf(prepared);
  if (config !== null) await stage.writeText("config.json", config);
  const isTokenizer = (name: string) => (tokenizerNames as readonly string[]).includes(name);
  const isReplaced = (name: string) => prepared.template !== null && name.startsWith("chat_template.");
  const warn = (diagnostic: Diagnostic) => host.report({ type: "warning", diagnostic });
  const made = (request.copyTokenizer && (await tokenizerFiles(tokenizer))) || nothingMade;
  made.warnings.forEach(warn);
  const renumber = tokenIds(prepared);
  const own = tokenizer.donor.model.sidecars;
  // What generates stops at the tokenizer's own special tokens.
  const isOther = (name: string) => renumber !== null && name === generationName && own.includes(name);
  const files: [folder: Folder, name: string][] = [
    ...donor.sidecars
      .filter((n) => !isTokenizer(n) && !isOther(n))
      .map((n): [Folder, string] => [host.fs.folder(donor.folder), n]),
    ...own
      .filter((n) => isOther(n) || (request.copyTokenizer && isTokenizer(n) && !made.dropped.includes(n)))
      .map((n): [Folder, string] => [tokenizer.donor.folder, n]),
  ];
  const write = async (name: string, bytes: Uint8Array): Promise<void> => {
    const clean = bytes.length <= maxParsedSidecarBytes ? cleanSidecar(name, bytes) : { bytes, warnings: [] };
    clean.warnings.forEach(warn);
    const renamed = name === "tokenizer_config.json" && prepared.template !== null;
    await stage.writeText(
      name,
      renamed ? withTemplate(new TextDecoder().decode(clean.bytes), prepared.template) : clean.bytes,
    );
  };
  for (const [name, text] of made.written) await write(name, utf8ToBytes(text));
  for (const [folder, name] of files) {
    if (isReplaced(name) || made.written.has(name)) continue;
    const source = await folder.open(name);
    try {
      const bytes = await readWhole(source, maxSidecarBytes, (n) =>
        fail("model-config", `Cannot copy ${quote(source.name)}: it has ${n} bytes, the limit is ${maxSidecarBytes}`),
      );
      const stale = name === generationName && renumber !== null && !isOther(name);
      const value = stale ? parseJson(source.name, new TextDecoder().decode(bytes)) : null;
      await write(name, isRecord(value) ? utf8ToBytes(configText(renumber!(value, null))) : bytes);
    } finally {
      await source.close();
    }
  }
  if (prepared.template !== null) await stage.writeText("chat_template.jinja", prepared.template);
  const licenses = await Promise.all(checkpoints.map((c) => declaredLicense(c, host)));
  const provenance: Provenance = {
    plan,
    planSha256: prepared.planSha256,
    recipeText: request.recipe.text,
    recipeSha256: prepared.recipeSha256,
    methodTitle: prepared.method.title,
    paper: prepared.method.paper,
    models: checkpoints.map((c, i) => {
      const { repo, revision } = prepared.locations[i]!;
      const license = licenses[i];
      return {
        reference: c.reference,
        ...(repo ? { repo } : {}),
        ...(revision ? { revision } : {}),
        ...(license ? { license } : {}),
      };
    }),
    base: recipe.base,
    dtype: torchNames[dtype],
    hashed: request.checksum,
    compat: request.compat,
    options: optionsOf(request),
    runtime: host.runtime,
  };
  if (request.writeModelCard)
    await stage.writeText(
      "README.md",
      modelCard(provenance, host.fs.split(host.fs.resolve(host.cwd, out)).file, facts.methodFacts),
    );
  await stage.writeText("mergekit_config.yml", request.recipe.text);
  if (plan.outputs.length > 1) await stage.writeText(indexName, indexJson(outputFiles(plan)));
  await stage.writeText("braid.json", manifest(provenance, facts));
}

function outputFiles(plan: Plan): OutputFile[] {
  return plan.outputs.map((f, file) => {
    const tensors = plan.tensors.filter((t) => t.output.file === file);
    return {
      name: f.name,
      header: fromBase64(f.header),
      byteLength: f.byteLength,
      tensors: new Map(
        tensors.map((t) => [t.name, { start: t.output.start, end: t.output.start + t.count * byteWidth(t.dtype) }]),
      ),
      parameterCount: tensors.reduce((sum, t) => sum + t.count, 0),
    };
  });
}

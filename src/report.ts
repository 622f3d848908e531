// What is written beside the tensors: the model card and the manifest braid.json.

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { defaultRequest, type MergeRequest, type MergeSummary } from "./host.ts";
import type { RowRun } from "./kernel/view.ts";
import type { Plan } from "./plan/plan.ts";

export const version = "0.1.0";

/** Requests that change the plan of a recipe. */
const decidingOptions = [
  "nonFinite",
  "overflow",
  "rounding",
  "outShardBytes",
  "allowMissing",
  "loraMergeDtype",
] as const satisfies readonly (keyof MergeRequest)[];
type DecidingOption = (typeof decidingOptions)[number];

export function optionsOf(request: MergeRequest): Provenance["options"] {
  return Object.fromEntries(
    decidingOptions.filter((key) => request[key] !== defaultRequest[key]).map((key) => [key, request[key]]),
  );
}

export interface Provenance {
  readonly plan: Plan;
  readonly planSha256: string;
  readonly recipeText: string;
  readonly recipeSha256: string;
  readonly methodTitle: string;
  readonly paper: string;
  /** As written in the recipe, with the licence of its model card when it says one. */
  readonly models: readonly {
    readonly reference: string;
    readonly revision?: string;
    readonly repo?: string;
    readonly license?: string;
  }[];
  readonly base: number | null;
  readonly dtype: string;
  /** The manifest has the files' hashes. */
  readonly hashed: boolean;
  readonly compat: "none" | "mergekit";
  /** What was asked for beside the recipe that decides bytes, where it was not the default: with it the merge can be planned again. */
  readonly options: Readonly<Partial<Pick<MergeRequest, DecidingOption>>>;
  readonly runtime: string;
}

/** A string as YAML reads it back, whatever it holds. */
const yamlString = (text: string) => JSON.stringify(text);

/** README.md: front matter as the hub reads it, then what was done, in words and as the recipe. */
export function modelCard(p: Provenance, title: string, methodFacts: MergeSummary["methodFacts"] = []): string {
  const licenses = new Set(p.models.map((m) => m.license));
  const license = licenses.size === 1 ? [...licenses][0] : undefined;
  const hubIds = p.models.flatMap((m) => (m.repo ? [m.repo] : []));
  const front = [
    "---",
    ...(hubIds.length > 0
      ? ["base_model:", ...hubIds.map((id) => `- ${yamlString(id)}`), "base_model_relation: merge"]
      : []),
    "library_name: transformers",
    ...(license ? [`license: ${yamlString(license)}`] : []),
    "tags:",
    "- merge",
    "- braid",
    `- ${p.plan.method}`,
    "---",
  ];
  const models = p.models.map(
    (m, i) => `- \`${m.reference}\`${m.revision ? ` at \`${m.revision}\`` : ""}${i === p.base ? " (base)" : ""}`,
  );
  const fence = "`".repeat(Math.max(3, ...(p.recipeText.match(/`+/g) ?? []).map((ticks) => ticks.length + 1)));
  return [
    ...front,
    "",
    `# ${title}`,
    "",
    `This model was merged with Braid ${version} by [${p.methodTitle}](${p.paper}) in ${p.dtype}.`,
    "",
    "## Models",
    "",
    ...models,
    "",
    ...factLines(methodFacts),
    "## Recipe",
    "",
    `${fence}yaml`,
    p.recipeText.replace(/\r\n?/g, "\n").trimEnd(),
    fence,
    "",
    `The same recipe, inputs and seed give the same bytes${p.hashed ? ": braid.json has their hashes" : ""}.`,
    "",
  ].join("\n");
}

/** What the method found in its matrices, if it tells. */
function factLines(facts: MergeSummary["methodFacts"]): string[] {
  if (facts.length === 0) return [];
  const digits = (x: number) => String(Number(x.toPrecision(4)));
  const lines = facts.map(
    ({ fact, tensors, mean, least, most }) =>
      `- ${fact}: ${digits(mean)} in the mean of ${tensors} matrices, from ${digits(least.value)} (\`${least.tensor}\`) to ${digits(most.value)} (\`${most.tensor}\`)`,
  );
  return ["## Matrices", "", ...lines, ""];
}

/** braid.json: enough to repeat the merge and to check its files. Times and machine are left out, so that it repeats too. */
export function manifest(
  p: Provenance,
  summary: Pick<
    MergeSummary,
    "files" | "tensors" | "parameters" | "dropRates" | "densities" | "nonFinite" | "overflow" | "methodFacts"
  >,
): string {
  const { plan } = p;
  return `${JSON.stringify(
    {
      format: "braid-manifest-1",
      version,
      method: plan.method,
      compat: p.compat,
      seed: plan.seed,
      ...(Object.keys(p.options).length > 0 ? { options: p.options } : {}),
      recipe: p.recipeText,
      recipeSha256: p.recipeSha256,
      planSha256: p.planSha256,
      kernelSha256: plan.kernelSha256,
      inputs: plan.inputs.map((input, i) => ({
        model: input.reference,
        ...(p.models[i]?.repo ? { repo: p.models[i].repo } : {}),
        ...(p.models[i]?.revision ? { revision: p.models[i].revision } : {}),
        ...(p.models[i]?.license ? { license: p.models[i].license } : {}),
        files: input.files.map((f) => ({
          name: basename(f.location),
          byteLength: f.byteLength,
          headerSha256: f.headerSha256,
        })),
      })),
      files: summary.files,
      tensors: summary.tensors,
      parameters: summary.parameters,
      dropRates: summary.dropRates,
      densities: summary.densities,
      nonFinite: summary.nonFinite,
      overflow: summary.overflow,
      ...(summary.methodFacts.length > 0 ? { methodFacts: summary.methodFacts } : {}),
    },
    null,
    1,
  )}\n`;
}

function basename(path: string): string {
  return path.slice(Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1);
}

/**
 * SHA-256 in hex of what determines the output's bytes: everything of a plan but paths, memory and workers, as JSON. Tensor by
 * tensor, because the text of all of them together may be larger than the rest of the program.
 */
export function planIdentity(plan: Plan): string {
  const { format, method, seed, kernelSha256, outputs, policy } = plan;
  const inputFiles = plan.inputFiles.map(({ byteLength, headerSha256 }) => ({ byteLength, headerSha256 }));
  const digests = new Map<readonly RowRun[], string>();
  const short = (key: string, value: unknown): unknown => {
    if (key !== "runs" || !Array.isArray(value)) return value;
    const runs = value as readonly RowRun[];
    const digest = digests.get(runs) ?? runsDigest(runs);
    digests.set(runs, digest);
    return digest;
  };
  const hash = sha256.create();
  const head = JSON.stringify({ format, method, seed, kernelSha256, inputFiles, outputs, policy });
  hash.update(utf8ToBytes(`${head.slice(0, -1)},"tensors":[`));
  plan.tensors.forEach((tensor, i) => {
    hash.update(utf8ToBytes(`${i > 0 ? "," : ""}${JSON.stringify(tensor, short)}`));
  });
  return bytesToHex(hash.update(utf8ToBytes("]}")).digest());
}

/** SHA-256 of the runs of a view, of which there may be one for every token. */
function runsDigest(runs: readonly RowRun[]): string {
  const length = runs.reduce((sum, r) => sum + 3 + 2 * r.take.length, 0);
  const numbers = new DataView(new ArrayBuffer(4 * length));
  let at = 0;
  const put = (n: number) => {
    numbers.setUint32(at, n, true);
    at += 4;
  };
  for (const { first, count, take } of runs) {
    put(first);
    put(count);
    put(take.length);
    for (const { source, row } of take) {
      put(source);
      put(row);
    }
  }
  return bytesToHex(sha256(new Uint8Array(numbers.buffer)));
}

// braid.json as a report reads it: what `braid merge` wrote (src/report.ts), checked before it is believed.

import * as z from "zod";
import { fail, quote } from "../errors.ts";

export const manifestName = "braid.json";
export const maxManifestBytes = 64 * 1024 * 1024;

const count = z.number().int().nonnegative();
const rate = z.object({ model: z.string(), asked: z.number().nullable(), actual: z.number() });
const place = z.object({ tensor: z.string(), value: z.number() });

const schema = z.object({
  format: z.literal("braid-manifest-1"),
  version: z.string(),
  method: z.string(),
  compat: z.enum(["none", "mergekit"]),
  seed: z.string(),
  recipe: z.string(),
  recipeSha256: z.string(),
  planSha256: z.string(),
  kernelSha256: z.string(),
  inputs: z.array(
    z.object({
      model: z.string(),
      repo: z.string().optional(),
      revision: z.string().optional(),
      license: z.string().optional(),
      files: z.array(z.object({ name: z.string(), byteLength: count, headerSha256: z.string() })),
    }),
  ),
  /** What was asked for beside the recipe, where it was not the default. */
  options: z
    .object({
      nonFinite: z.enum(["error", "keep", "base"]).optional(),
      overflow: z.enum(["error", "saturate", "inf"]).optional(),
      rounding: z.enum(["nearest", "stochastic"]).optional(),
      outShardBytes: count.optional(),
      allowMissing: z.boolean().optional(),
      loraMergeDtype: z.string().optional(),
    })
    .optional(),
  files: z.array(z.object({ name: z.string(), byteLength: count, sha256: z.string().nullable() })),
  tensors: count,
  parameters: count,
  dropRates: z.array(rate),
  densities: z.array(rate),
  nonFinite: z.array(z.object({ model: z.string(), tensor: z.string(), count, first: count })),
  overflow: count,
  methodFacts: z
    .array(z.object({ fact: z.string(), tensors: count, mean: z.number(), least: place, most: place }))
    .optional(),
});

export type Manifest = z.infer<typeof schema>;

/** `from`: the file, for messages. */
export function parseManifest(text: string, from: string): Manifest {
  const wrong = (what: string): never =>
    fail("manifest", `Cannot report on ${quote(from, 4096)}: ${what}`, {
      hint: "braid report reads a folder that braid merge wrote, with its braid.json as it was.",
    });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (e) {
    return wrong(`it is not JSON (${(e as Error).message.split("\n")[0]})`);
  }
  const format = (value as { format?: unknown } | null)?.format;
  if (format !== "braid-manifest-1") {
    const found = typeof format === "string" ? `its format is ${quote(format)}` : "it has no format";
    return wrong(`${found}, expected "braid-manifest-1"`);
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  return wrong(`${issue?.path.join(".") || "it"}: ${issue?.message ?? "not as braid merge writes it"}`);
}

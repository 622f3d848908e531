// sweep.json as a report reads it: what `braid sweep` wrote, checked before it is believed.

import * as z from "zod";
import { fail, quote } from "../errors.ts";

export const sweepName = "sweep.json";
export const sweepFormat = "braid-sweep-1";

const values = z.record(z.string(), z.string());

const schema = z.object({
  format: z.literal(sweepFormat),
  recipe: z.string(),
  evaluator: z.string(),
  lowest: z.boolean(),
  by: z.string().nullable(),
  axes: z.array(z.object({ name: z.string(), values: z.array(z.string()) })),
  points: z
    .array(
      z.object({
        values,
        scores: z.record(z.string(), z.number()),
        score: z.number(),
        planSha256: z.string(),
        files: z.array(z.object({ name: z.string(), byteLength: z.number(), sha256: z.string().nullable() })),
        mergeSeconds: z.number(),
        evalSeconds: z.number(),
        known: z.boolean(),
      }),
    )
    .min(1),
  best: z.number().int().nonnegative(),
  surveys: z.object({ shared: z.number(), run: z.number() }),
});

export type Sweep = z.infer<typeof schema>;

/** `from`: the file, for messages. */
export function parseSweep(text: string, from: string): Sweep {
  const wrong = (what: string): never =>
    fail("manifest", `Cannot report on ${quote(from, 4096)}: ${what}`, {
      hint: "braid report reads the sweep.json that braid sweep wrote, or the folder of a merge.",
    });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (e) {
    return wrong(`it is not JSON (${(e as Error).message.split("\n")[0]})`);
  }
  const result = schema.safeParse(value);
  if (!result.success) {
    const [issue] = result.error.issues;
    return wrong(`${issue?.path.join(".") || "it"}: ${issue?.message ?? "not as braid sweep writes it"}`);
  }
  const { best, points } = result.data;
  if (best >= points.length) return wrong(`best: ${best} is not one of its ${points.length} points`);
  return result.data;
}

// `q_file`: the divisors q of DAREx, found outside of Braid, tensor by tensor (Deng et al. 2025, arXiv 2410.09344).

import { type Diagnostic, fail, quote } from "./errors.ts";
import type { Host } from "./host.ts";
import type { TensorAssignment } from "./recipe/assign.ts";

/** A line for every tensor of a large model is about 2 MB. */
export const maxQFileBytes = 16_000_000;

/** q by the name of a tensor, or by a part of it. */
type Table = ReadonlyMap<string, number>;

/**
 * Gives every tensor that has a `q_file` the q that the file has for it: that of its name, or else of the first key that is part of
 * its name (`*`: of any). Tensors without one keep the recipe's q. Paths are relative to the recipe's folder.
 *
 * @throws `recipe-parameter` for a file that cannot be read or is not a JSON object of numbers above 0.
 */
export function withQFiles(
  assigned: readonly TensorAssignment[],
  recipeFolder: string,
  host: Host,
  warn: (d: Diagnostic) => void,
): readonly TensorAssignment[] {
  const files = new Set(assigned.flatMap(({ shared }) => (isNamed(shared.q_file) ? [shared.q_file] : [])));
  if (files.size === 0) return assigned;
  const tables = new Map<string, Table>();
  for (const file of files) tables.set(file, readTable(file, recipeFolder, host));
  const used = new Map([...files].map((file) => [file, new Set<string>()]));
  const given = assigned.map((tensor) => {
    const file = tensor.shared.q_file;
    if (!isNamed(file)) return tensor;
    const table = tables.get(file)!;
    const key = table.has(tensor.name)
      ? tensor.name
      : [...table.keys()].find((k) => k === "*" || tensor.name.includes(k));
    if (key === undefined) return tensor;
    used.get(file)!.add(key);
    return { ...tensor, shared: { ...tensor.shared, q: table.get(key)! } };
  });
  for (const [file, keys] of used) {
    const idle = [...tables.get(file)!.keys()].filter((k) => !keys.has(k));
    if (idle.length === 0) continue;
    const more = idle.length > 1 ? ` and ${idle.length - 1} more` : "";
    warn({
      kind: "recipe-parameter",
      message: `${quote(idle[0]!)}${more} of the q_file ${quote(file)} gives no tensor its q: no name has it, or an earlier key does`,
    });
  }
  return given;
}

function isNamed(file: unknown): file is string {
  return typeof file === "string" && file !== "";
}

function readTable(file: string, recipeFolder: string, host: Host): Table {
  const path = host.fs.resolve(recipeFolder, file);
  const refuse = (why: string): never =>
    fail("recipe-parameter", `Cannot read the q_file ${quote(file)}: ${why}`, {
      hint: 'It is a JSON object of q by tensor name or part of a name, like {"mlp": 0.2, "*": 0.15}.',
    });
  if (host.fs.kind(path) !== "file") refuse(`there is no file ${quote(path)}`);
  const text = host.fs.readText(path, maxQFileBytes);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (e) {
    refuse(`it is not JSON (${(e as Error).message})`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) refuse("it is not a JSON object");
  return new Map(
    Object.entries(value as object).map(([key, q]: [string, unknown]) => {
      if (typeof q === "number" && q > 0 && Number.isFinite(q)) return [key, q];
      return refuse(`q of ${quote(key)} is ${JSON.stringify(q)}, it must be a number above 0`);
    }),
  );
}

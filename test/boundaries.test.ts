// The arrows of the design, held by a program:
//
//   errors ◀ bytes ◀ tensor ◀ recipe | methods | plan | kernel ◀ exec ◀ merge ◀ cli
//
// and effects at the edges: the clock, the environment, the console and node: modules only where they are listed here.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

interface Import {
  readonly target: string;
  /** `import type`, or every name of it: gone when the code runs. */
  readonly typeOnly: boolean;
}
interface Module {
  readonly path: string;
  readonly text: string;
  /** `text` with comments and the contents of strings blanked out. */
  readonly code: string;
  readonly imports: readonly Import[];
}

const generated = new Set(["src/kernel/wasm.ts", "src/cli/tab-files.ts"]);

/** Blanks comments, and the contents of strings and templates (not of `${…}`), so that words in them are not taken for code. */
function blank(text: string, strings: boolean): string {
  const token =
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\$]|\\.|\$(?!\{)|\$\{[^}]*\})*`/g;
  return text.replace(token, (found) => {
    if (found.startsWith("/")) return found.replace(/[^\n]/g, " ");
    return strings ? (found.startsWith("`") ? (found.match(/\$\{[^}]*\}/g) ?? []).join(" ") : '""') : found;
  });
}

function parseImports(code: string): Import[] {
  const imports: Import[] = [];
  for (const [, kind, clause = "", target] of code.matchAll(
    /^\s*(import|export)\s+([^;"']*?\bfrom\s*)?["']([^"']+)["']/gm,
  )) {
    const names = /\{([^}]*)\}/
      .exec(clause)?.[1]
      ?.split(",")
      .map((name) => name.trim())
      .filter(Boolean);
    const wholly = /^type\b/.test(clause);
    const each =
      names !== undefined && names.length > 0 && names.every((name) => name.startsWith("type ")) && /^\{/.test(clause);
    imports.push({ target: target!, typeOnly: wholly || (kind === "import" && each) });
  }
  for (const [, target] of code.matchAll(/\bimport\(\s*["']([^"']+)["']/g))
    imports.push({ target: target!, typeOnly: false });
  return imports;
}

function readModules(folder: string): Module[] {
  return (readdirSync(join(root, folder), { recursive: true }) as string[])
    .map((name) => posix.join(folder, name.replaceAll("\\", "/")))
    .filter((path) => path.endsWith(".ts") && !generated.has(path))
    .sort()
    .map((path) => {
      const text = readFileSync(join(root, path), "utf8");
      return { path, text, code: blank(text, true), imports: parseImports(blank(text, false)) };
    });
}

const modules = readModules("src");
/** Entries, like the command line; what they may touch is said below. */
const functions = readModules("functions");
const byPath = new Map(modules.map((module) => [module.path, module]));

function resolveImport(module: Module, target: string): string | null {
  return target.startsWith(".") ? posix.join(posix.dirname(module.path), target) : null;
}

/** The part of the picture that a file belongs to. */
function partOf(path: string): string {
  const [, first, second] = path.split("/");
  if (second !== undefined) return first!;
  return first === "errors.ts" ? "errors" : first === "host.ts" ? "host" : "merge";
}

/** What each part may import, beside itself. `host` is types only: who takes a Host may name it. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  bytes: ["errors"],
  tensor: ["errors", "bytes"],
  recipe: ["errors", "bytes", "tensor"],
  kernel: ["errors", "bytes", "tensor"],
  // Runs small models, to look at what came out of a merge; it knows nothing of merges.
  infer: ["errors", "bytes", "tensor", "kernel"],
  methods: ["errors", "bytes", "tensor", "recipe", "kernel"],
  plan: ["errors", "bytes", "tensor", "recipe", "methods", "kernel"],
  exec: ["errors", "bytes", "tensor", "kernel", "methods", "plan"],
  remote: ["errors", "bytes", "tensor", "plan", "kernel", "exec"],
  host: ["errors", "bytes", "tensor", "kernel", "plan", "exec"],
  merge: ["errors", "bytes", "tensor", "recipe", "methods", "plan", "kernel", "exec", "host"],
  // Measures what a merge does, so it stands above it; only the command line knows it.
  bench: ["errors", "bytes", "tensor", "kernel", "exec", "host", "merge"],
  // Looks at what a merge would be given; nothing but the command line needs it.
  check: ["errors", "bytes", "tensor", "recipe", "methods", "plan", "host", "merge"],
  // Merges again and again, and scores what comes out.
  sweep: ["errors", "bytes", "tensor", "recipe", "methods", "plan", "kernel", "exec", "host", "merge"],
  // Surveys what a merge would add up. Beside check, and like it known to the command line only.
  analyze: ["errors", "bytes", "tensor", "recipe", "methods", "plan", "kernel", "exec", "host", "merge"],
  // Pictures as text: for reports, pages and experiments, and knows none of them.
  svg: [],
  // Writes on what a merge did; only the command line and pages know it.
  "report-page": [
    "errors",
    "bytes",
    "tensor",
    "recipe",
    "methods",
    "plan",
    "kernel",
    "exec",
    "host",
    "merge",
    "analyze",
    "svg",
  ],
  cli: [
    "errors",
    "bytes",
    "tensor",
    "infer",
    "recipe",
    "methods",
    "plan",
    "kernel",
    "exec",
    "remote",
    "host",
    "merge",
    "bench",
    "check",
    "sweep",
    "analyze",
    "svg",
    "report-page",
  ],
  // The page of browser workers: an entry for tabs, bundled into the command line's files.
  tab: ["errors", "bytes", "tensor", "kernel", "exec", "remote"],
  // The page: an entry like the command line, for browsers.
  web: [
    "errors",
    "bytes",
    "tensor",
    "recipe",
    "methods",
    "plan",
    "kernel",
    "exec",
    "host",
    "merge",
    "analyze",
    "infer",
    "svg",
  ],
};

/** Methods and plans speak of programs, masks and sizes; they never compute. */
const kernelForPlanners = new Set([
  "src/kernel/factor-cost.ts",
  "src/kernel/factor-program.ts",
  "src/kernel/matrix-cost.ts",
  "src/kernel/program.ts",
  "src/kernel/mask.ts",
  "src/kernel/lines.ts",
  "src/kernel/run.ts",
  "src/kernel/view.ts",
  "src/kernel/adapter.ts",
  "src/kernel/masked.ts",
  "src/kernel/scaled.ts",
  "src/kernel/tile.ts",
  "src/kernel/unify-program.ts",
]);

/** Files that touch this machine. Everything from which they can be reached is listed too: all else runs in a browser. */
const local =
  /^src\/(cli\/.*|bytes\/(blocks|file|stage|stage-[a-z]+|lock|output|replace)\.ts|exec\/(threads|local)\.ts)$/;

describe("imports", () => {
  test("the parser of this test sees every kind of import", () => {
    const code = `import { a } from "./a.ts";
import type { B } from "./b.ts";
import { type C, type D } from "./c.ts";
import { type E, f } from "./d.ts";
import "./e.ts";
export * from "./f.ts";
export type { G } from "./g.ts";
const h = await import("./h.ts");
// import "./no.ts";
const s = \`x \${process.pid} console.log\`; /* fetch( */
import {
  i,
} from "./i.ts";`;
    const found = parseImports(blank(code, false)).map(({ target, typeOnly }) => `${target}${typeOnly ? " type" : ""}`);
    expect(found.sort()).toEqual([
      "./a.ts",
      "./b.ts type",
      "./c.ts type",
      "./d.ts",
      "./e.ts",
      "./f.ts",
      "./g.ts type",
      "./h.ts",
      "./i.ts",
    ]);
    expect(blank(code, true)).toContain("process.pid");
    expect(blank(code, true)).not.toContain("console");
    expect(blank(code, true)).not.toContain("fetch");
  });

  test("every part is in the picture", () => {
    expect(modules.length).toBeGreaterThan(20);
    expect(
      [...new Set(modules.map(({ path }) => partOf(path)))].filter((part) => !Object.hasOwn(mayImport, part)),
    ).toEqual([]);
  });

  test("nothing points back", () => {
    const wrong = modules.flatMap((module) =>
      module.imports.flatMap(({ target }) => {
        const path = resolveImport(module, target);
        if (path === null) return [];
        const [from, to] = [partOf(module.path), partOf(path)];
        return from === to || mayImport[from]?.includes(to) ? [] : [`${module.path} imports ${path}`];
      }),
    );
    expect(wrong).toEqual([]);
  });

  test("relative imports name files that exist, with their ending", () => {
    const wrong = modules.flatMap((module) =>
      module.imports.flatMap(({ target }) => {
        const path = resolveImport(module, target);
        return path === null || byPath.has(path) || generated.has(path) ? [] : [`${module.path} imports ${target}`];
      }),
    );
    expect(wrong).toEqual([]);
  });

  test("methods and plan take programs, masks and sizes from kernel, and nothing that computes", () => {
    const wrong = modules
      .filter(({ path }) => ["methods", "plan"].includes(partOf(path)))
      .flatMap((module) =>
        module.imports
          .map(({ target }) => resolveImport(module, target))
          .filter((path) => path?.startsWith("src/kernel/") && !kernelForPlanners.has(path))
          .map((path) => `${module.path} imports ${path}`),
      );
    expect(wrong).toEqual([]);
  });

  test("edge functions know kernels and nodes, and no module of Node", () => {
    expect(functions.length).toBeGreaterThan(4);
    const wrong = functions.flatMap((module) =>
      module.imports.flatMap(({ target }) => {
        const path = resolveImport(module, target);
        const known = path === null ? target.startsWith("hono") : ["kernel", "remote"].includes(partOf(path));
        return known || path === "build/kernels.wasm" ? [] : [`${module.path} imports ${target}`];
      }),
    );
    expect(wrong).toEqual([]);
  });

  test("host.ts is types", () => {
    expect(byPath.get("src/host.ts")!.imports.filter(({ typeOnly }) => !typeOnly)).toEqual([]);
  });
});

describe("effects", () => {
  test("node: modules can be reached from the listed files only", () => {
    const reaches = new Map<string, boolean>();
    const reach = (path: string): boolean => {
      const known = reaches.get(path);
      if (known !== undefined) return known;
      reaches.set(path, false);
      const module = byPath.get(path);
      const answer = (module?.imports ?? []).some(({ target, typeOnly }) => {
        if (typeOnly) return false;
        const next = resolveImport(module!, target);
        return next === null ? /^(node|bun|deno):/.test(target) : reach(next);
      });
      reaches.set(path, answer);
      return answer;
    };
    expect(modules.map(({ path }) => path).filter((path) => reach(path) && !local.test(path))).toEqual([]);
  });

  const effects =
    /\b(?:process|console|Deno|Bun)\s*[.[]|\bDate\.now\b|\bnew Date\(\s*\)|\bperformance\s*\.|\bMath\.random\b|(?<![.\w])fetch\s*\(|\bnavigator\b/g;
  /** Whether the owner of a lock lives, and which call claims blocks, are questions to the operating system. */
  const mayAsk = ["src/bytes/lock.ts: process.", "src/bytes/blocks.ts: process."];

  test("no process, console, clock, chance or fetch outside of the command line and the page", () => {
    const wrong = modules
      .filter(({ path }) => !["cli", "web", "tab"].includes(partOf(path)))
      .flatMap(({ path, code }) => [...code.matchAll(effects)].map(([found]) => `${path}: ${found}`));
    expect(wrong.filter((found) => !mayAsk.includes(found))).toEqual([]);
  });
});

describe("files", () => {
  test("no file has more than 500 lines", () => {
    const long = [...modules, ...readModules("test")].filter(({ text }) => text.split("\n").length > 501);
    expect(long.map(({ path, text }) => `${path}: ${text.split("\n").length}`)).toEqual([]);
  });

  test("no `any`, and no silenced checker, in src", () => {
    const wrong = modules.flatMap(({ path, text, code }) => [
      ...[...code.matchAll(/(?:[:<|&,(]\s*|\bas\s+)any\b(?!\s*[:(])/g)].map(([found]) => `${path}: ${found.trim()}`),
      ...[...text.matchAll(/@ts-(?:ignore|nocheck|expect-error)/g)].map(([found]) => `${path}: ${found}`),
    ]);
    expect(wrong).toEqual([]);
  });
});

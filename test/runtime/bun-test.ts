// `bun:test` for Deno (deno.json maps the name here), so that one suite runs under both runtimes: the functions that the
// suite uses, over Deno.test, with npm's `expect`, whose matchers Bun's follow.

import { expect } from "expect";

type Body = () => unknown;
type Hook = "beforeAll" | "afterAll" | "beforeEach" | "afterEach";

interface DenoTest {
  readonly name: string;
  readonly ignore: boolean;
  readonly sanitizeOps: boolean;
  readonly sanitizeResources: boolean;
  readonly fn: Body;
}
const { Deno } = globalThis as unknown as { Deno: { test(test: DenoTest): void } };

/** A `describe`: its hooks run around the tests below it, before the first and after the last that is not skipped. */
interface Scope {
  readonly parent: Scope | null;
  readonly name: string;
  readonly skipped: boolean;
  readonly hooks: Record<Hook, Body[]>;
  started: boolean;
  pending: number;
}

function createScope(parent: Scope | null, name: string, skipped: boolean): Scope {
  const hooks = { beforeAll: [], afterAll: [], beforeEach: [], afterEach: [] };
  return { parent, name, skipped, hooks, started: false, pending: 0 };
}

let current = createScope(null, "", false);

/** From the file's own scope down to `scope`. */
function chain(scope: Scope): Scope[] {
  return scope.parent ? [...chain(scope.parent), scope] : [scope];
}

async function runHooks(scope: Scope, hook: Hook): Promise<void> {
  for (const body of scope.hooks[hook]) await body();
}

function register(name: string, body: Body | undefined, skipped: boolean): void {
  const scopes = chain(current);
  const ignore = skipped || body === undefined || scopes.some((scope) => scope.skipped);
  if (!ignore) for (const scope of scopes) scope.pending++;
  const fullName = [...scopes.map((scope) => scope.name), name].filter(Boolean).join(" > ");
  Deno.test({
    name: fullName,
    ignore,
    // Pools and servers of a `beforeAll` outlive the test that started them.
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => {
      for (const scope of scopes) {
        if (!scope.started) {
          scope.started = true;
          await runHooks(scope, "beforeAll");
        }
      }
      try {
        for (const scope of scopes) await runHooks(scope, "beforeEach");
        await body?.();
      } finally {
        for (const scope of scopes.toReversed()) await runHooks(scope, "afterEach");
        for (const scope of scopes.toReversed()) if (--scope.pending === 0) await runHooks(scope, "afterAll");
      }
    },
  });
}

/** printf-like names of `each`: %s %d %i %f %j %o %p take the arguments in turn, %# the index. */
function eachName(name: string, args: readonly unknown[], index: number): string {
  let next = 0;
  return name.replace(/%([sdifjop#%])/g, (whole, kind: string) => {
    if (kind === "%") return "%";
    if (kind === "#") return String(index);
    if (next >= args.length) return whole;
    const value = args[next++];
    return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
  });
}

type Define = (name: string, body?: Body, options?: unknown) => void;
type Table = readonly unknown[];

function withEach(define: Define) {
  return (table: Table) => (name: string, body: (...args: never[]) => unknown) =>
    table.forEach((row, index) => {
      const args = Array.isArray(row) ? row : [row];
      define(eachName(name, args, index), () => body(...(args as never[])));
    });
}

const define: Define = (name, body) => register(name, body, false);
const skip: Define = (name, body) => register(name, body, true);
const choose = (skipped: boolean): Define => (skipped ? skip : define);

export const test = Object.assign(define, {
  skip,
  todo: skip,
  each: withEach(define),
  skipIf: (condition: unknown) =>
    Object.assign(choose(Boolean(condition)), { each: withEach(choose(Boolean(condition))) }),
  if: (condition: unknown) => choose(!condition),
  todoIf: (condition: unknown) => choose(Boolean(condition)),
});
export const it = test;

function enter(name: string, body: Body | undefined, skipped: boolean): void {
  const outer = current;
  current = createScope(outer, name, skipped);
  try {
    body?.();
  } finally {
    current = outer;
  }
}
const defineScope: Define = (name, body) => enter(name, body, false);
const skipScope: Define = (name, body) => enter(name, body, true);

export const describe = Object.assign(defineScope, {
  skip: skipScope,
  todo: skipScope,
  each: withEach(defineScope),
  skipIf: (condition: unknown) => (condition ? skipScope : defineScope),
  if: (condition: unknown) => (condition ? defineScope : skipScope),
});

const hook = (name: Hook) => (body: Body) => void current.hooks[name].push(body);
export const beforeAll = hook("beforeAll");
export const afterAll = hook("afterAll");
export const beforeEach = hook("beforeEach");
export const afterEach = hook("afterEach");
export function setDefaultTimeout(): void {}
export { expect };

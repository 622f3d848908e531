// `compile`: one file that needs nothing else, dist/braid, by Bun or (as `deno task compile`) by Deno.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import { environment, preferredRuntime, root, run } from "./runtimes.mjs";

// Each worker is an entry of its own and lies beside main.ts: in another folder, Bun's binary would start itself as its worker.
const entries = ["src/cli/main.ts", "src/cli/worker.ts", "src/cli/bench-worker.ts", "src/cli/serve-worker.ts"];
const suffix = process.platform === "win32" ? ".exe" : "";

/** Bun's binary reads .env and bunfig.toml of the folder it is run in unless told not to. */
const bunFlags = [
  "--compile",
  "--bytecode",
  "--splitting",
  "--format=esm",
  "--minify-syntax",
  "--no-compile-autoload-dotenv",
  "--no-compile-autoload-bunfig",
];

/** What the binary made by Deno may do: a merge reads and writes where its user says. No network, no programs, no libraries. */
const denoFlags = ["--no-check", "--allow-read", "--allow-write", "--allow-env", "--allow-sys"];

function withBun(path, out, args) {
  return run(path, ["build", ...entries, ...bunFlags, `--outfile=${out}`, ...args]);
}

/** Deno takes the whole of node_modules along: leave out what only the project's tasks need, 450 MB of it. */
function excludes() {
  const { devDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const names = [...Object.keys(devDependencies), "@oven", "@deno", "@typescript", "binaryen", "bun-types"];
  return names.map((name) => join("node_modules", name)).filter((path) => existsSync(join(root, path)));
}

function withDeno(path, out, args) {
  const { DENORT_BIN } = process.env;
  if (DENORT_BIN && !existsSync(DENORT_BIN)) {
    console.error(`error: Cannot compile with Deno: DENORT_BIN names ${DENORT_BIN}, and there is no such file`);
    return 1;
  }
  const files = [
    ...entries.slice(1).flatMap((entry) => ["--include", entry]),
    ...excludes().flatMap((name) => ["--exclude", name]),
  ];
  const all = ["compile", "--quiet", ...denoFlags, ...files, `--output=${out}`, ...args, entries[0]];
  const { status, stderr } = spawnSync(path, all, {
    cwd: root,
    encoding: "utf8",
    env: environment(),
    stdio: ["ignore", "inherit", "pipe"],
  });
  if (status === 0) {
    process.stderr.write(stderr);
    return 0;
  }
  if (/denort/i.test(stderr)) {
    console.error(
      "error: Cannot compile with Deno: denort, the runtime that goes into the binary, cannot be downloaded here. Set DENORT_BIN to a local copy of it, or use `npm run compile`, which needs no download.",
    );
    return 1;
  }
  process.stderr.write(stderr);
  return status ?? 1;
}

/** `--out=FILE` puts the binary elsewhere; other arguments go to the compiler (`--target=…`). */
export function compile(args) {
  const { name, path, version } = preferredRuntime();
  const out = args.find((arg) => arg.startsWith("--out="))?.slice(6) ?? join("dist", `braid${suffix}`);
  const rest = args.filter((arg) => !arg.startsWith("--out="));
  mkdirSync(join(root, "dist"), { recursive: true });
  rmSync(resolve(root, out), { force: true });
  const status = (name === "deno" ? withDeno : withBun)(path, out, rest);
  if (status !== 0) return status;
  const { size } = statSync(resolve(root, out));
  console.log(`${out}: ${(size / 1e6).toFixed(1)} MB, by ${name} ${version}`);
  return 0;
}

// `test`: the whole suite under Bun, and under Deno all of it that does not itself start runtimes. Results are read from
// JUnit reports, never from what is printed; the last line is `N passed, N failed[, N skipped]`.

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { readJunit } from "./junit.mjs";
import { capture, launcher, root, runtime } from "./runtimes.mjs";

/** Not part of `npm test`: minutes, gigabytes. */
const slow = ["test/slow"];
/** These start Bun, Deno or a browser themselves, so running them under a second runtime would test the same twice. */
const startsRuntimes = ["test/cli", "test/runtime", "test/browser"];

function testFiles(without) {
  return readdirSync(join(root, "test"), { recursive: true })
    .map((name) => `test/${name.replaceAll("\\", "/")}`)
    .filter((name) => name.endsWith(".test.ts") && !without.some((folder) => name.startsWith(`${folder}/`)))
    .sort();
}

const commands = {
  bun: (report, files) => [
    "test",
    "--reporter=junit",
    `--reporter-outfile=${report}`,
    "--timeout=120000",
    "--only-failures",
    ...files.map((file) => `./${file}`),
  ],
  deno: (report, files) => [
    "test",
    "-A",
    "--no-check",
    "--quiet",
    `--junit-path=${report}`,
    "--reporter=dot",
    ...files,
  ],
};

/** Deno writes a line for every test, even those that only hold a dot. */
function withoutDots(text) {
  const kept = text.split("\n").filter((line) => !/^[.,!]$/.test(stripVTControlCharacters(line)));
  return `${kept.join("\n").trim()}\n`;
}

/** Files of one process. Many small ones keep every core busy to the end; each costs the start of a runtime. */
const filesPerProcess = 12;

/** A few files under one runtime. */
async function runPart({ runtime: { name, path }, files }, args, folder, number) {
  const report = join(folder, `${name}-${number}.xml`);
  const started = Date.now();
  const { status, output } = await capture(path, [...commands[name](report, files), ...args]);
  const result = existsSync(report)
    ? readJunit(readFileSync(report, "utf8"))
    : { passed: 0, failed: 0, skipped: 0, failures: [] };
  // A file that cannot be loaded, or a runtime that crashes, leaves no failed test behind; it is one all the same.
  if (status !== 0 && result.failed === 0) {
    result.failed = 1;
    result.failures.push({
      file: files.join(" "),
      name: `${name} test`,
      message: `ended with ${status} although no test failed`,
    });
  }
  const seconds = (Date.now() - started) / 1000;
  const text = name === "deno" ? withoutDots(output) : output;
  if (result.failed > 0) console.log(text);
  console.log(`${name}: ${result.passed} passed, ${result.failed} failed in ${seconds.toFixed(0)} s: ${shown(files)}`);
  return { ...result, seconds };
}

function shown(files) {
  return files.length > 2 ? `${files[0]} … ${files.at(-1)}` : files.join(" ");
}

/** Runs as many parts at a time as there are cores, those of the first runtime first; answers one result a runtime. */
async function runParts(suites, args, folder) {
  const parts = suites.flatMap(({ runtime, files }) => {
    const size = Math.min(filesPerProcess, Math.ceil(files.length / availableParallelism()));
    const cuts = Array.from({ length: Math.ceil(files.length / size) }, (_, i) =>
      files.slice(i * size, (i + 1) * size),
    );
    return cuts.map((cut) => ({ runtime, files: cut }));
  });
  const results = parts.map(() => null);
  let next = 0;
  const lane = async () => {
    for (let i = next++; i < parts.length; i = next++) results[i] = await runPart(parts[i], args, folder, i);
  };
  await Promise.all(Array.from({ length: Math.min(parts.length, availableParallelism()) }, lane));
  return suites.map(({ runtime, files }) => {
    const own = results.filter((_, i) => parts[i].runtime === runtime);
    const sum = (key) => own.reduce((total, result) => total + result[key], 0);
    return {
      title: `${runtime.name} ${runtime.version}`,
      files: files.length,
      passed: sum("passed"),
      failed: sum("failed"),
      skipped: sum("skipped"),
      seconds: sum("seconds"),
      failures: own.flatMap((result) => result.failures),
    };
  });
}

/** `args`: names of test files (or parts of them) to run instead of all, then options for the runtimes after `--`. */
export async function runTests(args) {
  const cut = args.indexOf("--");
  const only = (cut < 0 ? args : args.slice(0, cut)).filter((arg) => !arg.startsWith("-"));
  const extra = cut < 0 ? args.filter((arg) => arg.startsWith("-")) : args.slice(cut + 1);
  const wanted = (files) =>
    only.length === 0 ? files : files.filter((file) => only.some((part) => file.includes(part)));

  const names = launcher === "deno" ? ["deno", "bun"] : ["bun", "deno"];
  const runtimes = names.map(runtime).filter(Boolean);
  if (runtimes.length === 0) throw new Error("Cannot run the tests: neither bun nor deno can be started");
  const suites = runtimes
    .map((each) => {
      // The first runtime there is runs everything, so that a machine with one of them leaves nothing out.
      const all = each === runtimes.find(({ name }) => name === "bun") || runtimes.length === 1;
      return { runtime: each, files: wanted(testFiles(all ? slow : [...slow, ...startsRuntimes])) };
    })
    .filter(({ files }) => files.length > 0);
  for (const { runtime, files } of suites) console.log(`${runtime.name} ${runtime.version}: ${files.length} files`);
  const folder = mkdtempSync(join(tmpdir(), "braid-test-"));
  try {
    return summarise(await runParts(suites, extra, folder));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Failures shown once more at the end. */
const failureLimit = 40;

function summarise(results) {
  const sum = (key) => results.reduce((total, result) => total + result[key], 0);
  const failures = results.flatMap((result) => result.failures.map((failure) => ({ ...failure, title: result.title })));
  if (failures.length > 0) console.log("\nFailed:");
  for (const { title, file, name, message } of failures.slice(0, failureLimit)) {
    console.log(
      `  ${title}  ${file}  ${name}${message ? `\n      ${message.split("\n").slice(0, 12).join("\n      ")}` : ""}`,
    );
  }
  if (failures.length > failureLimit) console.log(`  … and ${failures.length - failureLimit} more`);
  console.log("");
  for (const { title, files, passed, failed, skipped, seconds } of results) {
    console.log(
      `${title}: ${passed} passed, ${failed} failed, ${skipped} skipped in ${files} files, ${seconds.toFixed(0)} s of processes`,
    );
  }
  const skipped = sum("skipped");
  console.log(`${sum("passed")} passed, ${sum("failed")} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
  return sum("failed") === 0 && sum("passed") > 0 ? 0 : 1;
}

#!/usr/bin/env bun
// The entry of the command line under Bun, Deno and in the binary. It parses, runs one command and turns whatever happens
// into an exit code.

import { BraidError, type Diagnostic, errorKinds, exitCodes, isBraidError } from "../errors.ts";
import type { Host } from "../host.ts";
import { readEnvironment } from "./environment.ts";
import { type Command, parseArguments, version } from "./program.ts";
import { createTerminal } from "./streams.ts";
import { paint, type Terminal, writeDiagnostic } from "./terminal.ts";

/** What a command is given besides its arguments. */
export interface Context {
  readonly terminal: Terminal;
  readonly env: Host["env"];
  readonly signal: AbortSignal;
}

/** A command that is told to stop has this long to tidy up. */
const graceMilliseconds = 2000;

// Commands are loaded when they are run: `--help` and a mistyped option should not wait for the merge engine.
async function run(command: Command, context: Context): Promise<number> {
  switch (command.command) {
    case "merge":
      return (await import("./merge.ts")).runMerge(command, context);
    case "plan":
      return (await import("./plan.ts")).runPlan(command, context);
    case "check":
      return (await import("./check.ts")).runCheck(command, context);
    case "inspect":
      return (await import("./inspect.ts")).runInspect(command, context);
    case "analyze":
      return (await import("./analyze.ts")).runAnalyze(command, context);
    case "report":
      return (await import("./report.ts")).runReport(command, context);
    case "extract":
      return (await import("./extract.ts")).runExtract(command, context);
    case "apply":
      return (await import("./apply.ts")).runApply(command, context);
    case "bench":
      return (await import("./bench.ts")).runBench(command, context);
    case "serve":
      return (await import("./serve.ts")).runServe(command, context);
    case "worker":
      return (await import("./queue-command.ts")).runWorker(command, context);
    case "nodes":
      return (await import("./nodes.ts")).runNodes(command, context);
    case "chat":
      return (await import("./chat.ts")).runChat(command, context);
    case "eval":
      return (await import("./eval.ts")).runEval(command, context);
    case "sweep":
      return (await import("./sweep.ts")).runSweep(command, context);
  }
}

/** Errors of the runtime that its user can act on; null for what is a bug of ours. */
function asDiagnostic(error: unknown): Diagnostic | null {
  if (!(error instanceof Error)) return null;
  if (error.name === "NotCapable") {
    return {
      kind: "unsafe-path",
      message: `Deno does not permit it: ${error.message}`,
      hint: "Braid needs --allow-read, --allow-env=LOG_TOKENS,LOG_STREAM and, to merge, --allow-write=PARENT_OF_OUT.",
    };
  }
  if (/\bwasm\.ts\b/.test(error.message)) {
    return {
      kind: "file-not-found",
      message: "Cannot find src/kernel/wasm.ts: the kernels are not built",
      hint: "Build them: npm run build",
    };
  }
  return null;
}

/** Prints what went wrong and answers the exit code. With --json, a document on standard output says the same. */
function reportError(error: unknown, command: Command | undefined, { terminal, env, signal }: Context): number {
  const known = asDiagnostic(error);
  const cause = signal.aborted && isBraidError(signal.reason) ? signal.reason : known ? new BraidError(known) : error;
  if (isBraidError(cause)) {
    for (const diagnostic of cause.diagnostics) writeDiagnostic(terminal.err, "error", diagnostic);
    if (command?.json) writeJson(terminal, { exitCode: cause.exitCode, errors: cause.diagnostics });
    return cause.exitCode;
  }
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  const detailed = command?.verbose || env.BRAID_DEBUG;
  terminal.err.write(`${paint(terminal.err, ["red", "bold"], "error:")} ${message.split("\n")[0]}\n`);
  terminal.err.write(
    `  This is a bug in Braid ${version}; please report it with the recipe${detailed ? "" : " and what --verbose prints"}.\n`,
  );
  if (detailed && error instanceof Error) terminal.err.write(`${error.stack ?? ""}\n`);
  if (command?.json) writeJson(terminal, { exitCode: internalError, errors: [{ message }] });
  return internalError;
}

/** EX_SOFTWARE of sysexits(3): a bug, which has no place among the errors that a user can act on. */
const internalError = 70;

function writeJson(
  terminal: Terminal,
  value: { exitCode: number; errors: readonly (Diagnostic | { message: string })[] },
): void {
  terminal.out.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** The first signal asks the command to stop; a second one, or two seconds without an answer, ends the process. */
function listenForSignals(controller: AbortController, terminal: Terminal): void {
  for (const [name, kind] of [
    ["SIGINT", "interrupted"],
    ["SIGTERM", "terminated"],
  ] as const) {
    process.on(name, () => {
      const exit = exitCodes[errorKinds[kind].exit];
      if (controller.signal.aborted) process.exit(exit);
      controller.abort(new BraidError({ kind, message: `Stopped by ${name}: the output was not written` }));
      setTimeout(() => {
        terminal.err.write("\n");
        process.exit(exit);
      }, graceMilliseconds).unref();
    });
  }
}

async function main(args: readonly string[]): Promise<number> {
  const env = readEnvironment();
  const terminal = createTerminal(env);
  const controller = new AbortController();
  const context: Context = { terminal, env, signal: controller.signal };
  let command: Command | undefined;
  let exit: number;
  try {
    const parsed = await parseArguments(args, terminal);
    if ("exit" in parsed) {
      exit = parsed.exit;
    } else {
      command = parsed;
      listenForSignals(controller, terminal);
      exit = await run(command, context);
    }
  } catch (error) {
    exit = reportError(error, command, context);
  }
  await terminal.flush();
  return exit;
}

process.exit(await main(process.argv.slice(2)));

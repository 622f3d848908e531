// The real terminal: process.stdout and process.stderr behind the Screen interface.

import type { Screen, Terminal } from "./terminal.ts";

/** The part of a Node stream that is used. */
interface Stream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string, done?: (error?: Error | null) => void): boolean;
  on(event: "error", listener: (error: NodeJS.ErrnoException) => void): unknown;
}

function createScreen(
  stream: Stream,
  env: Readonly<Record<string, string | undefined>>,
): Screen & { flush(): Promise<void> } {
  const isTTY = stream.isTTY === true && env.TERM !== "dumb";
  // no-color.org: any value but the empty one switches colour off.
  const color = env.NO_COLOR ? false : env.FORCE_COLOR ? env.FORCE_COLOR !== "0" : isTTY;
  let broken = false;
  /** Writes that have not left the process. Under Bun the answer to an empty one comes before a slow pipe took those ahead of it. */
  let pending = 0;
  let onEmpty = () => {};
  // A reader that went away (`braid plan … | head`) is no error of ours: stop writing, end as usual.
  stream.on("error", () => {
    broken = true;
    onEmpty();
  });
  const written = () => {
    if (--pending === 0) onEmpty();
  };
  return {
    isTTY,
    color,
    columns: () => stream.columns || Number(env.COLUMNS) || 80,
    write: (text) => {
      if (broken || text === "") return;
      pending++;
      stream.write(text, written);
    },
    flush: () =>
      new Promise((done) => {
        if (broken || pending === 0) done();
        else onEmpty = done;
      }),
  };
}

export function createTerminal(env: Readonly<Record<string, string | undefined>>): Terminal {
  const out = createScreen(process.stdout, env);
  const err = createScreen(process.stderr, env);
  return {
    out,
    err,
    flush: async () => {
      await out.flush();
      await err.flush();
    },
  };
}

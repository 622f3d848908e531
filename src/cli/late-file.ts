// A file that is written when all is done, and appears when it is complete: a trace, a report.

import * as fs from "node:fs";
import { errorCode, outputFailed, rename, show } from "../bytes/output.ts";
import { fail } from "../errors.ts";

/** Refuses a file that is there, before the work for it begins. `what` it is, for messages; `option` names it. */
export function assertFree(path: string, overwrite: boolean, what: string, option: string): void {
  if (overwrite || !fs.existsSync(path)) return;
  fail("output-exists", `Cannot write ${what} ${show(path)}: it exists`, {
    hint: `Name another file (${option}), or give --overwrite.`,
  });
}

/** Opened before the merge begins, so that a place that cannot be written to is told before an hour of work, not after it. */
export class LateFile {
  readonly path: string;
  private readonly part: string;
  private readonly what: string;
  private fd: number | null;

  constructor(path: string, overwrite: boolean, what: string, option: string) {
    this.path = path;
    this.what = what;
    this.part = `${path}.part`;
    assertFree(path, overwrite, what, option);
    try {
      this.fd = fs.openSync(this.part, "w");
    } catch (e) {
      outputFailed(`Cannot write ${this.what} ${show(path)}`, e);
    }
  }

  commit(text: string): void {
    try {
      fs.writeFileSync(this.fd!, text);
    } catch (e) {
      this.abort();
      outputFailed(`Cannot write ${this.what} ${show(this.path)}`, e);
    }
    this.close();
    rename(this.part, this.path);
  }

  /** May follow a commit: then there is nothing left to do. */
  abort(): void {
    if (this.fd === null) return;
    this.close();
    try {
      fs.unlinkSync(this.part);
    } catch (e) {
      if (errorCode(e) !== "ENOENT") outputFailed(`Cannot delete ${show(this.part)}`, e);
    }
  }

  private close(): void {
    if (this.fd !== null) fs.closeSync(this.fd);
    this.fd = null;
  }
}

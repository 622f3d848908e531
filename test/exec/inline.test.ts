import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { drive } from "../../src/exec/drive.ts";
import { JobFiles, maxOpenSources, type Opener } from "../../src/exec/files.ts";
import { createInlineExecutor } from "../../src/exec/inline.ts";
import { fileOpener } from "../../src/exec/local.ts";
import { errorFromWire, errorToWire, transferList } from "../../src/exec/messages.ts";
import { compileKernel } from "../../src/kernel/kernel.ts";
import type { SurveyPart } from "../../src/kernel/program.ts";
import { firstWrong, mergeTask, mergeTasks, writeJob } from "./fixture.ts";

const module = compileKernel();
const now = () => performance.now();
const never = new AbortController().signal;
const rejection = (p: Promise<unknown>) =>
  p.then(
    () => "resolved",
    (e: unknown) => e,
  );

/** Files that only note what is done with them; `late` answers with promises. */
function notebook(late: boolean) {
  const notes: string[] = [];
  const note = (text: string): void | Promise<void> => {
    if (!late) return void notes.push(text);
    return new Promise((resolve) => setTimeout(resolve, 1)).then(() => void notes.push(text));
  };
  const opened = <T>(text: string, file: T): T | Promise<T> => {
    notes.push(text);
    return late ? Promise.resolve(file) : file;
  };
  const opener: Opener = {
    source: (path) =>
      opened(`open ${path}`, {
        name: path,
        byteLength: 1e6,
        read: (start: number, target: Uint8Array) => note(`read ${path} ${start} ${target.length}`),
        close: () => note(`close ${path}`),
      }),
    sink: (path) =>
      opened(`open ${path}`, {
        name: path,
        write: (position: number, data: Uint8Array) => note(`write ${path} ${position} ${data.length}`),
        sync: () => note(`sync ${path}`),
        close: () => note(`close ${path}`),
      }),
  };
  return { opener, notes };
}

describe("the executor on this thread", () => {
  test("merges to the right bytes, one task at a time", async () => {
    const folder = mkdtempSync(join(tmpdir(), "braid-inline-"));
    try {
      const { job, out } = writeJob(folder);
      const executor = createInlineExecutor({ module, job, now, opener: fileOpener });
      const queue = mergeTasks();
      const ids: number[] = [];
      await drive({ next: () => queue.shift() ?? null, done: (_, r) => void ids.push(r.id) }, executor, never);
      await executor.close();
      expect(executor.capacity).toBe(1);
      expect(ids).toEqual([0, 1, 2, 3, 4, 5]);
      expect(firstWrong(out)).toBe(-1);
      expect(String(await rejection(executor.run(mergeTask(7, 0, 1), never)))).toContain("closed");
      await executor.close();
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  for (const late of [false, true]) {
    const kind = late ? "files that answer later" : "files that answer at once";
    const files = ["a", "b", "c"].map((path, i) => ({ path, mode: i < 2 ? ("read" as const) : ("write" as const) }));

    test(`opens lazily, syncs and closes ${kind}`, async () => {
      const { opener, notes } = notebook(late);
      const executor = createInlineExecutor({ module, job: { files, workerBytes: 4 << 20 }, now, opener });
      expect(notes).toEqual([]);
      await executor.run(mergeTask(0, 4096, 10), never);
      await executor.close();
      const reads = ["open a", `read a ${8 + 16384} 40`, "open b", `read b ${24 + 16384} 40`];
      const rest = ["open c", `write c ${40 + 16384} 40`, "sync c", "close a", "close b", "close c"];
      expect(notes).toEqual([...reads, ...rest]);
    });

    test(`does not sync ${kind} when the job says so`, async () => {
      const { opener, notes } = notebook(late);
      const job = { files, workerBytes: 4 << 20, sync: false };
      const executor = createInlineExecutor({ module, job, now, opener });
      await executor.run(mergeTask(0, 4096, 10), never);
      await executor.close();
      expect(notes.filter((n) => /^(write|sync|close)/.test(n))).toEqual([
        `write c ${40 + 16384} 40`,
        "close a",
        "close b",
        "close c",
      ]);
    });

    test(`stops at the next read or write when aborted, and then does not sync ${kind}`, async () => {
      const { opener, notes } = notebook(late);
      const executor = createInlineExecutor({ module, job: { files, workerBytes: 4 << 20 }, now, opener });
      const abort = new AbortController();
      const reason = new Error("stop");
      const running = rejection(executor.run(mergeTask(0, 0, 1e6), abort.signal));
      const behind = rejection(executor.run(mergeTask(1, 0, 1e6), abort.signal));
      // The first task begins in a microtask, so this abort arrives before its second read.
      await Promise.resolve();
      abort.abort(reason);
      expect(await running).toBe(reason);
      expect(await behind).toBe(reason);
      await executor.close();
      expect(notes.filter((n) => /write|sync/.test(n))).toEqual([]);
    });
  }
});

describe("the files of a job", () => {
  for (const late of [false, true]) {
    test(`hold at most ${maxOpenSources} inputs open (${late ? "later" : "at once"})`, async () => {
      const { opener, notes } = notebook(late);
      const names = Array.from({ length: maxOpenSources + 2 }, (_, i) => ({ path: `f${i}`, mode: "read" as const }));
      const files = new JobFiles(names, opener);
      for (let i = 0; i < names.length; i++) await files.read({ file: i, start: 0 }, 0, new Uint8Array(1));
      expect(notes.filter((n) => n.startsWith("close"))).toEqual(["close f0", "close f1"]);
      await files.read({ file: 0, start: 0 }, 0, new Uint8Array(1));
      expect(notes.filter((n) => n === "open f0").length).toBe(2);
      await files.close();
      expect(notes.filter((n) => n.startsWith("open")).length).toBe(names.length + 1);
      expect(notes.filter((n) => n.startsWith("close")).length).toBe(names.length + 1);
    });
  }

  test("are read or written, never both, and named by indices that exist", () => {
    const { opener } = notebook(false);
    const files = new JobFiles(
      [
        { path: "in", mode: "read" },
        { path: "out", mode: "write" },
      ],
      opener,
    );
    const bytes = new Uint8Array(1);
    expect(() => files.write({ file: 0, start: 0 }, 0, bytes)).toThrow("opens to read");
    expect(() => files.read({ file: 1, start: 0 }, 0, bytes)).toThrow("opens to write");
    expect(() => files.read({ file: 2, start: 0 }, 0, bytes)).toThrow("names file 2; the job has 2");
  });
});

describe("messages", () => {
  test("give away every array of a survey, each buffer once", () => {
    const shared = new ArrayBuffer(32);
    const halves = [new Float64Array(shared, 0, 2), new Float64Array(shared, 16, 2)];
    const bins = [new Uint32Array(4), new Uint32Array(2)];
    const table: [SurveyPart, number][] = [
      [{ op: "dots", blocks: halves }, 1],
      [{ op: "norms", l1: [new Float64Array(1)], l2: [new Float64Array(1)], max: [1], nonzero: [1] }, 2],
      [{ op: "histogram", above: [1], nonzero: [2], bins }, 2],
      [{ op: "equals", blocks: bins }, 2],
      [{ op: "nth", index: [3] }, 0],
    ];
    const nanoseconds = { read: 0, compute: 0, write: 0 };
    for (const [result, count] of table) {
      expect(transferList({ kind: "survey", id: 0, nonFinite: [], result, nanoseconds }).length).toBe(count);
    }
  });

  test("carry errors that are no errors", () => {
    const there = errorFromWire(errorToWire("just text"));
    expect(there.message).toBe("just text");
    expect(there).toBeInstanceOf(Error);
  });
});

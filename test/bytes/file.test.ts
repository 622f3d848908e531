import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assertUnchanged, FileSink, FileSource, fileIdentity, localFiles, localFolder } from "../../src/bytes/file.ts";
import { memoryFolder, memorySource } from "../../src/bytes/memory.ts";
import type { ByteSource } from "../../src/bytes/source.ts";
import { failure, withFolder } from "../tensor/fixture.ts";

/** Blocks can be claimed: the runtime reaches the system's call. */
const claims = typeof Bun !== "undefined" && process.platform === "linux";

const mount = (folder: string) => spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]);
const unmount = (folder: string) => spawnSync("umount", [folder]);

/** A disk that is full takes one of its own, and that the right to mount it. */
function mayMount(): boolean {
  if (!claims || process.getuid?.() !== 0) return false;
  const folder = mkdtempSync(join(tmpdir(), "braid-mount-"));
  const mounted = mount(folder).status === 0 && unmount(folder).status === 0;
  rmdirSync(folder);
  return mounted;
}

const content = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);

describe("a source", () => {
  const kinds: [string, (path: string) => ByteSource][] = [
    ["file", (path) => new FileSource(path)],
    ["memory", (path) => memorySource(path, content)],
  ];
  for (const [what, open] of kinds) {
    test(`in a ${what} gives any range, into any view, the same however it is cut`, () =>
      withFolder({ f: content }, async (folder) => {
        const source = open(join(folder, "f"));
        expect(source.byteLength).toBe(1000);
        const memory = new WebAssembly.Memory({ initial: 1 });
        for (const step of [1, 7, 333, 1000]) {
          const target = new Uint8Array(memory.buffer, 24, 1000).fill(0);
          for (let start = 0; start < 1000; start += step)
            await source.read(start, target.subarray(start, start + step));
          expect(target.join()).toBe(content.join());
        }
        await source.read(1000, new Uint8Array(0));
        await source.close();
      }));

    test(`in a ${what} refuses ranges outside of it`, () =>
      withFolder({ f: content }, async (folder) => {
        const source = open(join(folder, "f"));
        for (const [start, length] of [
          [-1, 1],
          [1000, 1],
          [999, 2],
          [0, 1001],
        ] as const) {
          const error = await failure(() => source.read(start, new Uint8Array(length)));
          expect(error.kind).toBe("io");
          expect(error.message).toContain(`Cannot read bytes ${start} to ${start + length} of "`);
          expect(error.message).toContain("it has 1000");
        }
        await source.close();
      }));
  }

  test("says what could not be opened, and the error number", () =>
    withFolder({ "d/f": "" }, async (folder) => {
      for (const [path, kind, exit, says] of [
        ["absent", "file-not-found", 66, "ENOENT"],
        ["d/f/g", "file-not-found", 66, "ENOTDIR"],
        ["d", "io", 74, "it is not a plain file"],
      ] as const) {
        const error = await failure(() => new FileSource(join(folder, path)));
        expect([error.kind, error.exitCode]).toEqual([kind, exit]);
        expect(error.message).toContain(`Cannot open "${join(folder, path)}": ${says}`);
      }
    }));

  test("that got shorter while it was open is an error, never a short read", () =>
    withFolder({ f: content }, async (folder) => {
      const source = new FileSource(join(folder, "f"));
      truncateSync(join(folder, "f"), 500);
      const error = await failure(() => source.read(400, new Uint8Array(200)));
      expect(error.kind).toBe("input-changed");
      expect(error.message).toContain("Cannot read bytes 400 to 600 of");
      expect(error.message).toContain("it ends at 500, and had 1000 when opened");
      source.close();
    }));

  test("can be closed twice, and not read after that", () =>
    withFolder({ f: content }, async (folder) => {
      const source = new FileSource(join(folder, "f"));
      source.close();
      source.close();
      expect((await failure(() => source.read(0, new Uint8Array(1)))).message).toContain("it was closed");
    }));
});

describe("a sink", () => {
  test("writes at any position, in any order", () =>
    withFolder({}, async (folder) => {
      const path = join(folder, "out");
      const sink = new FileSink(path);
      sink.resize(1000);
      for (const start of [900, 0, 300, 600])
        sink.write(start, content.subarray(start, start + (start === 900 ? 100 : 300)));
      sink.sync();
      sink.close();
      sink.close();
      expect(new Uint8Array(readFileSync(path)).join()).toBe(content.join());
      const again = new FileSink(path, "existing");
      again.write(5, new Uint8Array([9, 9]));
      again.close();
      expect([...readFileSync(path).subarray(4, 8)]).toEqual([4, 9, 9, 7]);
      expect((await failure(() => again.write(0, content))).message).toContain("it was closed");
    }));

  test("does not overwrite, and needs the file it is told to open", () =>
    withFolder({ out: "" }, async (folder) => {
      const exists = await failure(() => new FileSink(join(folder, "out")));
      expect([exists.kind, exists.exitCode]).toEqual(["output-exists", 73]);
      expect(exists.message).toBe(`Cannot create "${join(folder, "out")}": EEXIST`);
      const absent = await failure(() => new FileSink(join(folder, "absent"), "existing"));
      expect([absent.kind, absent.exitCode]).toEqual(["output-denied", 73]);
      expect(absent.message).toContain("ENOENT");
    }));

  test("has its blocks before it is written, where the runtime reaches the system's call", () =>
    withFolder({}, async (folder) => {
      const path = join(folder, "out");
      const byteLength = 3 * 2 ** 20 + 17;
      const sink = new FileSink(path);
      sink.write(0, content);
      sink.resize(byteLength);
      sink.sync();
      const { size, blocks } = statSync(path);
      expect([size, blocks * 512 >= byteLength]).toEqual([byteLength, claims]);
      sink.close();
      const bytes = readFileSync(path);
      expect(new Uint8Array(bytes.subarray(0, 1000)).join()).toBe(content.join());
      expect(bytes.subarray(1000).every((b) => b === 0)).toBe(true);
    }));

  test.skipIf(!mayMount())("says at once that a disk has no room for it", () =>
    withFolder({}, async (folder) => {
      expect(mount(folder).status).toBe(0);
      try {
        const path = join(folder, "out");
        const sink = new FileSink(path);
        sink.resize(2 ** 16);
        const error = await failure(() => sink.resize(2 ** 24));
        sink.close();
        expect([error.kind, error.exitCode]).toEqual(["no-space", 74]);
        expect(error.message).toBe(`Cannot set the length of "${path}" to 16777216: ENOSPC`);
      } finally {
        expect(unmount(folder).status).toBe(0);
      }
    }),
  );

  test.skipIf(!existsSync("/dev/full"))("on a full device fails with path, range and error number", async () => {
    const sink = new FileSink("/dev/full", "existing");
    const error = await failure(() => sink.write(16, content));
    expect([error.kind, error.exitCode]).toEqual(["no-space", 74]);
    expect(error.message).toBe('Cannot write bytes 16 to 1016 of "/dev/full": ENOSPC');
    sink.close();
  });

  test.skipIf(!existsSync("/dev/full"))(
    "that cannot be synced is closed: a second sync would not be true",
    async () => {
      const sink = new FileSink("/dev/full", "existing");
      const error = await failure(() => sink.sync());
      expect(error.kind).toBe("io");
      expect((await failure(() => sink.sync())).message).toContain("it was closed");
    },
  );
});

describe("a changed input is seen:", () => {
  for (const [what, change] of [
    ["appended", (path) => appendFileSync(path, "x")],
    ["truncated", (path) => truncateSync(path, 10)],
    ["overwritten", (path) => writeFileSync(path, content)],
    [
      "replaced",
      (path) => {
        unlinkSync(path);
        writeFileSync(path, content);
      },
    ],
    ["deleted", (path) => unlinkSync(path)],
  ] as [string, (path: string) => void][]) {
    test(what, () =>
      withFolder({ f: content }, async (folder) => {
        const path = join(folder, "f");
        const before = fileIdentity(path);
        assertUnchanged(path, before);
        assertUnchanged(path, JSON.parse(JSON.stringify(before)));
        // Some file systems keep time in ticks of milliseconds.
        await new Promise((resolve) => setTimeout(resolve, 20));
        change(path);
        const error = await failure(() => assertUnchanged(path, before));
        expect([error.kind, error.exitCode]).toEqual(["input-changed", 65]);
        expect(error.message).toContain(path);
      }),
    );
  }

  test("a file that is not there cannot be looked at", async () => {
    expect((await failure(() => fileIdentity("/absent/file"))).kind).toBe("file-not-found");
  });
});

describe("a folder", () => {
  test("lists plain files, through links, sorted; links to nothing and folders are left out", () =>
    withFolder({ "m/b": "", "m/a": "", "m/sub/x": "", store: content }, async (root) => {
      symlinkSync("../store", join(root, "m/linked"));
      symlinkSync("../absent", join(root, "m/dangling"));
      symlinkSync("sub", join(root, "m/folder"));
      const folder = localFolder(join(root, "m"));
      expect(await folder.list()).toEqual(["a", "b", "linked"]);
      expect(folder.locate("a")).toBe(join(root, "m/a"));
      const source = await folder.open("linked");
      expect(source.byteLength).toBe(1000);
      expect(source.identity!.ino).toBe(String(statSync(join(root, "store"), { bigint: true }).ino));
      await source.close();
    }));

  test("opens nothing but files of its own", () =>
    withFolder({ "m/a": "", out: "" }, async (root) => {
      const folder = localFolder(join(root, "m"));
      for (const name of ["../out", "..", ".", "", "/etc/passwd", "a/../a", "..\\out", "a\0"]) {
        const error = await failure(() => folder.open(name));
        expect([name, error.kind, error.exitCode]).toEqual([name, "unsafe-path", 77]);
      }
      expect((await failure(() => folder.open("absent"))).kind).toBe("file-not-found");
    }));

  test("that is not there cannot be listed", async () => {
    expect((await failure(() => localFolder("/absent").list())).kind).toBe("file-not-found");
  });

  test("in memory behaves alike", async () => {
    const folder = memoryFolder(
      "m",
      new Map([
        ["b", content],
        ["a", content],
      ]),
    );
    expect(await folder.list()).toEqual(["a", "b"]);
    expect((await folder.open("a")).byteLength).toBe(1000);
    expect((await failure(() => folder.open("c"))).kind).toBe("file-not-found");
  });
});

test("the file system tells files, folders and nothing apart, and reads small texts only", () =>
  withFolder({ "d/f": "abc" }, async (root) => {
    mkdirSync(join(root, "loop"));
    symlinkSync("self", join(root, "self"));
    const kinds = ["d", "d/f", "d/f/g", "x", "self", "a\0b", "x".repeat(5000)].map((path) =>
      localFiles.kind(join(root, path)),
    );
    expect(kinds).toEqual(["folder", "file", null, null, null, null, null]);
    expect(localFiles.readText(join(root, "d/f"), 3)).toBe("abc");
    expect((await failure(() => localFiles.readText(join(root, "d/f"), 2))).message).toContain(
      "it has 3 bytes, the limit is 2",
    );
    expect(localFiles.split(join(root, "d/f"))).toEqual({ folder: join(root, "d"), file: "f" });
  }));

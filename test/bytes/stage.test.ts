import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { outputFailed } from "../../src/bytes/output.ts";
import { type LockInfo, openStage, type Stage, type StageOptions } from "../../src/bytes/stage.ts";
import { BraidError, type ErrorKind } from "../../src/errors.ts";

let root = "";
let out = "";
beforeEach(() => {
  root = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), "braid-stage-")));
  out = join(root, "merged");
});
afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

const deadPid = 4_000_000;
const lockInfo: LockInfo = {
  pid: process.pid,
  host: "here",
  started: "2026-01-02T03:04:05Z",
  isAlive: (pid) => pid !== deadPid,
};
const header = Uint8Array.of(1, 2, 3);
const weights = (name: string, byteLength = 10) => ({ name, byteLength, header });
const open = (options: Partial<StageOptions> = {}, path = out) =>
  openStage(path, {
    overwrite: false,
    files: [weights("model.safetensors")],
    requiredBytes: 1000,
    lockInfo,
    inputs: [],
    planSha256: "abc",
    ...options,
  });

/** Everything below `root` but the folders themselves, sorted. */
const tree = (folder = root): string[] =>
  fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((e) => !e.isDirectory())
    .map((e) => join(e.parentPath, e.name).slice(root.length + 1))
    .sort();
const folders = () => fs.readdirSync(root).sort();

function put(path: string, files: Record<string, string>) {
  fs.mkdirSync(path, { recursive: true });
  for (const [name, text] of Object.entries(files)) fs.writeFileSync(join(path, name), text);
}
const oldModel = { "config.json": "old", "model.safetensors": "old", "braid.json": "{}" };

/** A row's arguments, after its files were made. */
const given = <T>(_made: unknown, args: T): T => args;

async function fill(stage: Stage) {
  await stage.writeText("config.json", "new");
  await stage.writeText("tokenizer.model", Uint8Array.of(0, 255));
}

async function failure(promise: Promise<unknown>): Promise<BraidError> {
  try {
    await promise;
  } catch (e) {
    expect(e).toBeInstanceOf(BraidError);
    return e as BraidError;
  }
  throw new Error("it did not fail");
}

async function expectFailure(promise: Promise<unknown>, kind: ErrorKind, text: string, hint = "") {
  const error = await failure(promise);
  expect([error.kind, error.message]).toEqual([kind, expect.stringContaining(text)]);
  expect(error.diagnostics[0]!.hint ?? "").toContain(hint);
}

describe("a stage", () => {
  test("holds preallocated files under names that no loader looks for", async () => {
    const stage = await open({ files: [weights("a-00001-of-00002.safetensors"), weights("b.safetensors", 3)] });
    await fill(stage);
    stage.journal("line");
    expect(folders()).toEqual(["merged.part", "merged.part.lock"]);
    expect(fs.readdirSync(stage.folder).sort()).toEqual([
      "a-00001-of-00002.safetensors.part",
      "b.safetensors.part",
      "config.json.part",
      "journal.jsonl",
      "tokenizer.model.part",
    ]);
    expect([...fs.readFileSync(stage.path("a-00001-of-00002.safetensors"))]).toEqual([1, 2, 3, 0, 0, 0, 0, 0, 0, 0]);
    expect([...fs.readFileSync(stage.path("b.safetensors"))]).toEqual([1, 2, 3]);
    const journal = fs.readFileSync(join(stage.folder, "journal.jsonl"), "utf8");
    expect(journal).toBe('{"format":"braid-journal-1","plan":"abc"}\nline\n');
    await stage.abort();
  });

  test("appears as a whole at commit and leaves nothing beside it", async () => {
    const stage = await open();
    await fill(stage);
    await stage.commit();
    expect(tree()).toEqual(["merged/config.json", "merged/model.safetensors", "merged/tokenizer.model"]);
    expect([...fs.readFileSync(join(out, "tokenizer.model"))]).toEqual([0, 255]);
    expect(stage.warnings).toEqual([]);
    await stage.abort();
    expect(tree().length).toBe(3);
    expect(String(await stage.commit().catch((e: unknown) => e))).toContain("committed");
  });

  test("vanishes at abort, with the folders that were made for it", async () => {
    const stage = await open({}, join(root, "x", "y", "merged"));
    await fill(stage);
    expect(folders()).toEqual(["x"]);
    await stage.abort();
    await stage.abort();
    expect(folders()).toEqual([]);
  });

  test("leaves folders alone at abort that others use", async () => {
    const stage = await open({}, join(root, "x", "y", "merged"));
    put(join(root, "x"), { other: "" });
    await stage.abort();
    expect(tree()).toEqual(["x/other"]);
  });

  test("follows the umask", async () => {
    const before = process.umask(0o027);
    try {
      const stage = await open();
      await fill(stage);
      await stage.commit();
    } finally {
      process.umask(before);
    }
    const mode = (path: string) => (fs.statSync(path).mode & 0o777).toString(8);
    expect([out, join(out, "model.safetensors"), join(out, "config.json")].map(mode)).toEqual(["750", "640", "640"]);
  });

  test("goes where a link points, and the link stays", async () => {
    fs.mkdirSync(join(root, "real"));
    fs.symlinkSync(join(root, "real"), join(root, "link"));
    const inLink = await open({}, join(root, "link", "merged"));
    expect(inLink.out).toBe(join(root, "real", "merged"));
    await inLink.abort();
    const atLink = await open({}, join(root, "link"));
    expect(atLink.folder).toBe(join(root, "real.part"));
    await fill(atLink);
    await atLink.commit();
    expect(fs.readlinkSync(join(root, "link"))).toBe(join(root, "real"));
    expect(fs.existsSync(join(root, "link", "config.json"))).toBe(true);
  });

  test("takes the place of an empty folder", async () => {
    for (const overwrite of [false, true]) {
      fs.mkdirSync(out);
      const stage = await open({ overwrite });
      await fill(stage);
      await stage.commit();
      expect(tree().length).toBe(3);
      fs.rmSync(out, { recursive: true });
    }
  });

  test("does not replace a folder that was filled meanwhile", async () => {
    const stage = await open();
    await fill(stage);
    put(out, { precious: "p" });
    await expectFailure(stage.commit(), "output-exists", "Cannot rename");
    await stage.abort();
    expect(tree()).toEqual(["merged/precious"]);
  });

  for (const name of ["", ".", "..", "../x", "a/b", "/etc/x", "a\\b", "a\0b"]) {
    test(`takes no file name like ${JSON.stringify(name)}`, async () => {
      await expectFailure(open({ files: [weights(name)] }), "unsafe-path", "not a plain file name");
      expect(folders()).toEqual([]);
      const stage = await open();
      await expectFailure(stage.writeText(name, ""), "unsafe-path", "not a plain file name");
      await stage.abort();
    });
  }
});

describe("before anything is written, an output is refused", () => {
  const rows: [
    what: string,
    kind: ErrorKind,
    text: string,
    hint: string,
    prepare: () => [string?, Partial<StageOptions>?],
  ][] = [
    ["that exists", "output-exists", "it exists", "--overwrite", () => given(put(out, oldModel), [])],
    ["that is a file", "output-exists", "a file has that name", "", () => given(fs.writeFileSync(out, ""), [])],
    [
      "that is a file, overwriting",
      "output-exists",
      "a file has that name",
      "",
      () => given(fs.writeFileSync(out, ""), [out, { overwrite: true }]),
    ],
    ["below a file", "output-denied", "ENOTDIR", "", () => given(fs.writeFileSync(out, ""), [join(out, "x")])],
    [
      "that is a link to nothing",
      "output-denied",
      "a link to nothing",
      "",
      () => given(fs.symlinkSync("nowhere", out), []),
    ],
    ["that is a root", "output-denied", "a root folder", "", () => ["/"]],
    ["that is a root, overwriting", "output-denied", "a root folder", "", () => ["/", { overwrite: true }]],
    [
      "that is an input",
      "output-denied",
      "it is the input",
      "another output",
      () => given(put(out, oldModel), [out, { inputs: [out], overwrite: true }]),
    ],
    [
      "inside an input",
      "output-denied",
      "it is inside the input",
      "another output",
      () => given(put(out, oldModel), [join(out, "sub", "x"), { inputs: [out] }]),
    ],
    [
      "around an input",
      "output-denied",
      "it holds the input",
      "another output",
      () => given(put(join(out, "in"), oldModel), [out, { inputs: [join(out, "in")], overwrite: true }]),
    ],
    [
      "whose stage is an input",
      "output-denied",
      "it is the input",
      "another output",
      () => given(put(`${out}.part`, oldModel), [out, { inputs: [`${out}.part`] }]),
    ],
    [
      "that is an input by another name",
      "output-denied",
      "it is the input",
      "",
      () =>
        given(
          [put(out, oldModel), fs.symlinkSync(out, join(root, "l"))],
          [out, { inputs: [join(root, "l")], overwrite: true }],
        ),
    ],
    [
      "that does not fit",
      "no-space",
      "it needs 9.01 PB, and ",
      "another drive",
      () => [out, { requiredBytes: Number.MAX_SAFE_INTEGER }],
    ],
    [
      "whose stage is somebody's folder",
      "output-exists",
      "Braid did not make it",
      "Move it away",
      () => given(put(`${out}.part`, { precious: "p" }), []),
    ],
    [
      "whose stage is a file",
      "output-exists",
      "a file has that name",
      "",
      () => given(fs.writeFileSync(`${out}.part`, ""), []),
    ],
    ["with a name that is too long", "output-denied", "ENAMETOOLONG", "", () => [join(root, "x".repeat(300))]],
  ];
  for (const [what, kind, text, hint, prepare] of rows) {
    test(what, async () => {
      const [path = out, options = {}] = prepare();
      const before = [tree(), folders()];
      await expectFailure(open(options, path), kind, text, hint);
      expect([tree(), folders()]).toEqual(before);
    });
  }

  test("but a folder beside an input, of which it is a prefix, is not", async () => {
    await (await open({ inputs: [`${out}2`, join(root, "merge")] })).abort();
  });

  for (const [code, kind] of Object.entries({
    EACCES: "output-denied",
    EPERM: "output-denied",
    EROFS: "output-denied",
    ENOTDIR: "output-denied",
    ENOSPC: "no-space",
    EDQUOT: "no-space",
    ENOTEMPTY: "output-exists",
    EIO: "io",
    EMFILE: "io",
  })) {
    test(`${code} becomes ${kind}, with the action, the path and the code`, async () => {
      const fails = async () => outputFailed('Cannot create "/x"', Object.assign(new Error("text"), { code }));
      await expectFailure(fails(), kind as ErrorKind, `Cannot create "/x": ${code}`);
    });
  }
});

describe("with --overwrite", () => {
  test("the old output stays until the new one takes its place", async () => {
    put(out, oldModel);
    const stage = await open({ overwrite: true });
    await fill(stage);
    expect(tree(out).length).toBe(3);
    expect(fs.readFileSync(join(out, "config.json"), "utf8")).toBe("old");
    await stage.commit();
    expect(tree()).toEqual(["merged/config.json", "merged/model.safetensors", "merged/tokenizer.model"]);
    expect(fs.readFileSync(join(out, "config.json"), "utf8")).toBe("new");
  });

  test("the old output stays when the merge is aborted", async () => {
    put(out, oldModel);
    const stage = await open({ overwrite: true });
    await fill(stage);
    await stage.abort();
    expect(tree()).toEqual(["merged/braid.json", "merged/config.json", "merged/model.safetensors"]);
  });

  test("the old output stays when the commit fails", async () => {
    put(out, oldModel);
    const stage = await open({ overwrite: true });
    await fill(stage);
    fs.rmSync(join(stage.folder, "journal.jsonl"));
    await expectFailure(stage.commit(), "output-denied", "journal");
    await stage.abort();
    expect(tree()).toEqual(["merged/braid.json", "merged/config.json", "merged/model.safetensors"]);
  });

  const merged: Record<string, string> = { "config.json": "{}", "model.safetensors": "" };
  const replaced: [string, Record<string, string>][] = [
    ["what Braid made", { "braid.json": "{}" }],
    [
      "what mergekit made",
      { ...merged, "mergekit_config.yml": "", "README.md": "", "tokenizer.json": "", "merges.txt": "" },
    ],
    ["shards", { "config.json": "{}", "model-00001-of-00002.safetensors": "", "model.safetensors.index.json": "{}" }],
    [
      "files that the manifest lists",
      { "braid.json": '{"files":[{"name":"odd.safetensors"}]}', "odd.safetensors": "" },
    ],
    ["files that are about to be written", { "braid.json": "{}", "own.safetensors": "" }],
  ];
  for (const [what, files] of replaced) {
    test(`${what} is replaced`, async () => {
      put(out, files);
      const stage = await open({ overwrite: true, files: [weights("own.safetensors")] });
      await stage.commit();
      expect(tree()).toEqual(["merged/own.safetensors"]);
    });
  }

  const kept: [string, string, Record<string, string>][] = [
    ["a folder of documents", "not a merged model", { "letter.txt": "" }],
    [
      "a folder of somebody's weights",
      "not a merged model",
      { "model.safetensors": "", "other-model.safetensors": "" },
    ],
    ["a web project", "not a merged model", { "config.json": "{}", "package.json": "{}", "README.md": "" }],
    ["a checkpoint with notes beside it", '"notes.txt" in it is no part', { ...merged, "notes.txt": "" }],
    ["a checkpoint with foreign weights", '"sdxl.safetensors" in it is no part', { ...merged, "sdxl.safetensors": "" }],
    ["a checkpoint with code", '"train.py" in it is no part', { ...merged, "braid.json": "{}", "train.py": "" }],
    ["a home with a checkpoint in it", '".bashrc" in it is no part', { ...merged, ".bashrc": "" }],
  ];
  for (const [what, text, files] of kept) {
    test(`${what} is kept`, async () => {
      put(out, files);
      const before = tree();
      await expectFailure(open({ overwrite: true }), "output-exists", text, "Only a merged model is replaced");
      expect(tree()).toEqual(before);
    });
  }

  test("a checkpoint with a folder in it is kept", async () => {
    put(out, { ...merged, "braid.json": "{}" });
    put(join(out, ".git"), { HEAD: "" });
    await expectFailure(open({ overwrite: true }), "output-exists", '".git" in it is not a plain file');
    expect(tree().length).toBe(4);
  });

  test("links in the old output go, what they point to stays", async () => {
    put(join(root, "blobs"), { one: "1" });
    put(out, { "config.json": "{}" });
    fs.symlinkSync(join(root, "blobs", "one"), join(out, "model.safetensors"));
    fs.symlinkSync(join(root, "blobs"), join(out, "link.json"));
    const stage = await open({ overwrite: true });
    await stage.commit();
    expect(tree()).toEqual(["blobs/one", "merged/model.safetensors"]);
  });
});

describe("a lock", () => {
  const lockText = (record: object) =>
    JSON.stringify({ pid: deadPid, host: "here", started: "2026-01-01T00:00:00Z", ...record });

  test("of this process keeps a second merge out, and the first goes on", async () => {
    const stage = await open();
    await expectFailure(open(), "output-locked", `process ${process.pid} on "here"`, "merged.part.lock");
    await fill(stage);
    await stage.commit();
    expect(tree().length).toBe(3);
  });

  const live: [string, object | string, Partial<LockInfo>][] = [
    ["of a live process", { pid: 1 }, {}],
    ["of another host", { host: "there" }, {}],
    ["of a process that cannot be looked at", {}, { isAlive: () => null }],
    ["that cannot be read", "{", {}],
    ["that is empty", "", {}],
    ["that says something else", "[1]", {}],
  ];
  for (const [what, record, info] of live) {
    test(`${what} keeps a merge out`, async () => {
      put(`${out}.part`, { "model.safetensors.part": "", "journal.jsonl": "" });
      fs.writeFileSync(`${out}.part.lock`, typeof record === "string" ? record : lockText(record));
      const before = tree();
      const lock = { ...lockInfo, ...info };
      await expectFailure(open({ lockInfo: lock }), "output-locked", "is writing there", `${out}.part.lock`);
      expect(tree()).toEqual(before);
    });
  }

  for (const [what, record] of [
    ["of a dead process", {}],
    ["with this process's pid that it never took (a container of before)", { pid: process.pid }],
  ] as const) {
    test(`${what} is taken over, and its stage cleared with a warning`, async () => {
      put(`${out}.part`, { "model.safetensors.part": "stale", "other.part": "", "journal.jsonl": "" });
      fs.writeFileSync(`${out}.part.lock`, lockText(record));
      fs.writeFileSync(`${out}.part.lock.77`, "litter of a process killed as it made its lock");
      const stage = await open();
      expect(stage.warnings.map((w) => w.message)).toEqual([expect.stringContaining("left by a merge")]);
      expect(fs.readdirSync(stage.folder).sort()).toEqual(["journal.jsonl", "model.safetensors.part"]);
      await stage.commit();
      expect(tree()).toEqual(["merged/model.safetensors"]);
    });
  }

  test("of a process killed between the two renames of an overwrite: the old output is put back", async () => {
    put(`${out}.old-1`, oldModel);
    put(`${out}.part`, { "model.safetensors": "complete", "config.json": "" });
    fs.writeFileSync(`${out}.part.lock`, lockText({ aside: `${out}.old-1` }));
    await expectFailure(open(), "output-exists", "it exists");
    expect(tree()).toEqual(["merged/braid.json", "merged/config.json", "merged/model.safetensors"]);
    expect(fs.readFileSync(join(out, "config.json"), "utf8")).toBe("old");
  });

  test("of a process killed after the rename: the old output is deleted at last", async () => {
    put(`${out}.old-1`, oldModel);
    put(out, oldModel);
    fs.writeFileSync(`${out}.part.lock`, lockText({ aside: `${out}.old-1` }));
    const stage = await open({ overwrite: true });
    expect(stage.warnings).toEqual([]);
    await stage.abort();
    expect(folders()).toEqual(["merged"]);
  });

  test("cannot name a foreign folder to be deleted or moved", async () => {
    put(join(root, "precious"), { p: "" });
    fs.writeFileSync(`${out}.part.lock`, lockText({ aside: join(root, "precious") }));
    await (await open()).abort();
    fs.writeFileSync(`${out}.part.lock`, lockText({ aside: `${out}.old-1/../precious` }));
    await (await open()).abort();
    expect(tree()).toEqual(["precious/p"]);
  });
});

describe("a merge that is killed", () => {
  test("leaves nothing that looks finished, and the next one starts over", async () => {
    const killed = await open({ lockInfo: { ...lockInfo, pid: deadPid } });
    await fill(killed);
    const names = tree();
    expect(names.length).toBe(5);
    expect(names.filter((n) => /\.(safetensors|json|model)$/.test(n))).toEqual([]);
    expect(fs.existsSync(out)).toBe(false);
    const next = await open();
    expect(next.warnings.length).toBe(1);
    await fill(next);
    await next.commit();
    expect(tree().length).toBe(3);
  });
});

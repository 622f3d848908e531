import { describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { localFiles } from "../../src/bytes/file.ts";
import { openCheckpoint } from "../../src/tensor/checkpoint.ts";
import { hubCacheFolder, parseHubId } from "../../src/tensor/hub-cache.ts";
import { type ModelPlaces, resolveModel } from "../../src/tensor/locate.ts";
import { failure, goodFile, tiny, withFolder } from "./fixture.ts";

const commit = "0123456789abcdef0123456789abcdef01234567";
const other = "fedcba9876543210fedcba9876543210fedcba98";

/** The layout that huggingface_hub makes: links in snapshots, content in blobs. */
function addToCache(
  hub: string,
  repo: string,
  files: Record<string, string | Uint8Array>,
  refs: Record<string, string>,
): void {
  const model = join(hub, `models--${repo.replace("/", "--")}`);
  const snapshot = join(model, "snapshots", commit);
  mkdirSync(snapshot, { recursive: true });
  mkdirSync(join(model, "blobs"), { recursive: true });
  Object.entries(files).forEach(([name, content], i) => {
    writeFileSync(join(model, "blobs", `blob${i}`), content);
    symlinkSync(`../../blobs/blob${i}`, join(snapshot, name));
  });
  for (const [ref, hash] of Object.entries(refs)) {
    mkdirSync(join(model, "refs", ref, ".."), { recursive: true });
    writeFileSync(join(model, "refs", ref), hash);
  }
}

const model = { "model.safetensors": goodFile(tiny), "config.json": "{}" };

/** A home with a cache, a working directory and a recipe's folder, each with models in it. */
function withPlaces(use: (places: ModelPlaces & { root: string; hub: string }) => Promise<void>): Promise<void> {
  const files: Record<string, string | Uint8Array> = { "home/x": "", "cwd/lone.safetensors": goodFile(tiny) };
  for (const [name, content] of Object.entries(model)) {
    for (const folder of ["cwd/here", "cwd/org/local", "recipes/there", "recipes/here", "home/mine"])
      files[`${folder}/${name}`] = content;
  }
  files["cwd/old.bin"] = "";
  files["cwd/notes.txt"] = "";
  return withFolder(files, async (root) => {
    const hub = join(root, "home/.cache/huggingface/hub");
    addToCache(hub, "org/name", model, {
      main: commit,
      "refs/pr/1": `${commit}\n`,
      broken: other,
      evil: "../../../../cwd/here",
    });
    addToCache(hub, "org/local", model, { main: commit });
    addToCache(hub, "gpt2", model, { main: commit });
    await use({
      root,
      hub,
      cwd: join(root, "cwd"),
      recipeFolder: join(root, "recipes"),
      env: {},
      home: join(root, "home"),
    });
  });
}

describe("a model is found", () => {
  for (const [what, reference, folder, file, revision] of [
    ["from the working directory", "here", "cwd/here"],
    ["from the working directory, before the recipe's folder", "./here", "cwd/here"],
    ["from the recipe's folder", "there", "recipes/there"],
    ["below home", "~/mine", "home/mine"],
    ["as one file", "lone.safetensors", "cwd", "lone.safetensors"],
    ["as a path although it looks like a hub id", "org/local", "cwd/org/local"],
    ["in the cache, by branch main", "org/name", "snapshot", undefined, commit],
    ["in the cache, by branch", "org/name@main", "snapshot", undefined, commit],
    ["in the cache, by pull request", "org/name@refs/pr/1", "snapshot", undefined, commit],
    ["in the cache, by commit", `org/name@${commit}`, "snapshot", undefined, commit],
    ["in the cache, without an organisation", "gpt2", "gpt2", undefined, commit],
  ] as [string, string, string, string?, string?][]) {
    test(`${what}: ${reference}`, () =>
      withPlaces(async (places) => {
        const found = await resolveModel(reference, places, localFiles);
        const snapshots = { snapshot: "models--org--name", gpt2: "models--gpt2" }[folder];
        expect(found.folder.name).toBe(
          snapshots ? join(places.hub, snapshots, "snapshots", commit) : join(places.root, folder),
        );
        expect(found.file).toBe(file);
        expect(found.revision).toBe(revision);
        expect(found.display).toBe(reference);
        const checkpoint = await openCheckpoint(reference, found.folder, { file: found.file });
        expect(checkpoint.tensors.size).toBe(tiny.length);
      }));
  }

  test("by an absolute path", () =>
    withPlaces(async (places) => {
      const path = join(places.root, "recipes/there");
      expect((await resolveModel(path, { ...places, recipeFolder: undefined }, localFiles)).folder.name).toBe(path);
    }));
});

describe("a model is not found", () => {
  test("and every place is named, with the command that gets it", () =>
    withPlaces(async (places) => {
      const error = await failure(() => resolveModel("org/absent@v1", places, localFiles));
      expect(error.kind).toBe("model-not-found");
      expect(error.exitCode).toBe(66);
      expect(error.message.split("\n")).toEqual([
        'Cannot find the model "org/absent@v1"',
        `  not found: "${join(places.cwd, "org/absent@v1")}"`,
        `  not found: "${join(places.root, "recipes/org/absent@v1")}"`,
        `  not found: "${join(places.hub, "models--org--absent")}"`,
        "  If it is on the Hugging Face Hub, download it first: hf download org/absent --revision v1 (huggingface-cli download in older versions)",
      ]);
    }));

  for (const [what, reference, says] of [
    ["a part of a commit hash", `org/name@${commit.slice(0, 12)}`, `refs/${commit.slice(0, 12)}`],
    ["a commit that is not there", `org/name@${other}`, `snapshots/${other}`],
    ["a branch whose snapshot is not there", "org/name@broken", `snapshots/${other}`],
    ["a ref that holds a path", "org/name@evil", "it holds no commit hash"],
    ["a revision that climbs", "org/name@../../x", "Check the spelling"],
    ["a local folder with a revision", "here@main", '"here" exists; a revision goes with a hub id only'],
    ["a path on Windows", "C:\\models\\x", "Check the spelling"],
    ["a share on Windows", "\\\\server\\share", "Check the spelling"],
    ["three parts", "a/b/c", "Check the spelling"],
    ["a NUL", "a\0b", "\\u{0}"],
    ["a lone tilde and name", "~user/x", "Check the spelling"],
    ["a very long name", "x".repeat(5000), "not found"],
    ["nothing", "", "is empty"],
    ["a text file", "notes.txt", "does not end in .safetensors"],
  ] as const) {
    test(`for ${what}`, () =>
      withPlaces(async (places) => {
        const error = await failure(() => resolveModel(reference, places, localFiles));
        expect(error.kind).toBe("model-not-found");
        expect(error.message).toContain(says);
      }));
  }

  test("when it is a pickle", () =>
    withPlaces(async (places) => {
      const error = await failure(() => resolveModel("old.bin", places, localFiles));
      expect([error.kind, error.exitCode]).toEqual(["pickle-input", 65]);
      expect(error.message).toContain("python -c");
    }));
});

describe("the cache is where huggingface_hub has it", () => {
  for (const [env, expected] of [
    [{}, "/h/.cache/huggingface/hub"],
    [{ XDG_CACHE_HOME: "/x" }, "/x/huggingface/hub"],
    [{ XDG_CACHE_HOME: "/x", HF_HOME: "/f" }, "/f/hub"],
    [{ XDG_CACHE_HOME: "/x", HF_HOME: "/f", HF_HUB_CACHE: "/c" }, "/c"],
    [{ HUGGINGFACE_HUB_CACHE: "/old", HF_HOME: "/f" }, "/old"],
    [{ HF_HOME: "~/f" }, "/h/f/hub"],
    [{ HF_HUB_CACHE: "", HF_HOME: "" }, "/h/.cache/huggingface/hub"],
  ] as [Record<string, string>, string][]) {
    test(`${JSON.stringify(env)}: ${expected}`, () => {
      // Drive letters on Windows.
      expect(hubCacheFolder(env, "/h", localFiles)).toBe(localFiles.resolve("/", expected));
    });
  }
});

describe("a hub id", () => {
  for (const good of [
    "org/name",
    "gpt2",
    "a/b",
    "Qwen/Qwen2.5-0.5B",
    "o_o/x_y.z-1",
    "a/b@main",
    "a/b@v1.0",
    "a/b@refs/pr/12",
    "a/b@feature/x",
  ]) {
    test(`can be ${good}`, () => expect(parseHubId(good)).not.toBe(null));
  }
  for (const bad of [
    "",
    "/x",
    "x/",
    "a/b/c",
    "../x",
    "a/..",
    "a--b/c",
    "-a/b",
    "a/b-",
    "a b/c",
    "a/b@",
    "a/b@..",
    "a/b@x/../y",
    "a/b@/x",
    "a/b@-x",
    "a\\b",
    "é/x",
    `${"a".repeat(97)}/b`,
  ]) {
    test(`cannot be ${JSON.stringify(bad.slice(0, 20))}`, () => expect(parseHubId(bad)).toBe(null));
  }
});

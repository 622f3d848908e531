import { describe, expect, test } from "bun:test";
import { localFolder } from "../../src/bytes/file.ts";
import { memoryFolder, memorySource } from "../../src/bytes/memory.ts";
import type { ByteSource, Folder } from "../../src/bytes/source.ts";
import { type ErrorKind, isBraidError } from "../../src/errors.ts";
import { openCheckpoint } from "../../src/tensor/checkpoint.ts";
import { maxConfigBytes } from "../../src/tensor/config.ts";
import type { NewTensor } from "../../src/tensor/encode.ts";
import { maxIndexBytes, readIndex } from "../../src/tensor/index-file.ts";
import { indexJson, layoutShards } from "../../src/tensor/shards.ts";
import { failure, goodFile, indexText, tiny, utf8, withFolder } from "./fixture.ts";
import { createRandom } from "./mutate.ts";

type Files = Record<string, string | Uint8Array>;
const config = JSON.stringify({ model_type: "llama", tie_word_embeddings: false });
const [first, second] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] as const;
const indexName = "model.safetensors.index.json";

function folderOf(files: Files): Folder {
  return memoryFolder("m", new Map(Object.entries(files).map(([k, v]) => [k, typeof v === "string" ? utf8(v) : v])));
}
const open = (files: Files, file?: string) => openCheckpoint("m", folderOf(files), { file });

/** `tiny` in two shards: the first two tensors in one, the head in the other. */
function sharded(map?: Record<string, string>): Files {
  const weightMap = Object.fromEntries(tiny.map(({ name }, i) => [name, i < 2 ? first : second]));
  return {
    "config.json": config,
    [indexName]: indexText(map ?? weightMap),
    [first]: goodFile(tiny.slice(0, 2)),
    [second]: goodFile(tiny.slice(2)),
  };
}

describe("a checkpoint", () => {
  test("of one file", async () => {
    const checkpoint = await open({
      "model.safetensors": goodFile(tiny),
      "config.json": config,
      "tokenizer.json": "{}",
      "x.py": "",
    });
    expect(checkpoint.reference).toBe("m");
    expect(checkpoint.files.map(({ name, location, identity }) => [name, location, identity])).toEqual([
      ["model.safetensors", "m/model.safetensors", null],
    ]);
    expect(checkpoint.files[0]!.headerSha256).toMatch(/^[0-9a-f]{64}$/);
    expect([...checkpoint.tensors.keys()].sort()).toEqual(tiny.map((t) => t.name).sort());
    expect(checkpoint.tensors.get("model.layers.0.mlp.weight")).toMatchObject({
      dtype: "BF16",
      shape: [2, 2],
      count: 4,
      file: 0,
    });
    expect([...checkpoint.metadata]).toEqual([["format", "pt"]]);
    expect(checkpoint.config).toEqual(JSON.parse(config));
    expect(checkpoint.sidecars).toEqual(["tokenizer.json"]);
    expect(checkpoint.warnings).toEqual([]);
  });

  test("of shards, whose tensors come in the order of the files", async () => {
    const checkpoint = await open(sharded());
    expect(checkpoint.files.map(({ name }) => name)).toEqual([first, second]);
    expect([...checkpoint.tensors.values()].map(({ file }) => file)).toEqual([0, 0, 1]);
  });

  test("as Braid itself writes shards and index", async () => {
    const files: Files = { "config.json": config };
    const shards = layoutShards(tiny, { shardBytes: 20 });
    for (const shard of shards) {
      files[shard.name] = new Uint8Array(shard.byteLength);
      (files[shard.name] as Uint8Array).set(shard.header);
    }
    files[indexName] = indexJson(shards);
    expect((await open(files)).tensors.size).toBe(tiny.length);
  });

  test("of one file of another name", async () => {
    const checkpoint = await open({ "weights.safetensors": goodFile(tiny), "config.json": config });
    expect(checkpoint.files.map(({ name }) => name)).toEqual(["weights.safetensors"]);
  });

  test("of one file that was named, without a config", async () => {
    const checkpoint = await open({ "a.safetensors": goodFile(tiny), "b.safetensors": goodFile([]) }, "a.safetensors");
    expect(checkpoint.tensors.size).toBe(3);
    expect(checkpoint.config).toBe(null);
    expect(checkpoint.warnings).toEqual([]);
  });

  test("of one shard that was named, with a warning", async () => {
    const checkpoint = await open(sharded(), second);
    expect([...checkpoint.tensors.keys()]).toEqual(["lm_head.weight"]);
    expect(checkpoint.warnings[0]!.message).toContain("one shard of several");
  });

  test("with an index that names the single file only", async () => {
    const map = Object.fromEntries(tiny.map(({ name }) => [name, "model.safetensors"]));
    const files = { "model.safetensors": goodFile(tiny), [indexName]: indexText(map), "config.json": config };
    expect((await open(files)).tensors.size).toBe(3);
  });

  test("with tensors named as properties of objects are", async () => {
    const names = ["__proto__", "constructor", "0", "1"];
    const tensors: NewTensor[] = names.map((name) => ({ name, dtype: "F32", shape: [1] }));
    const map = `{"metadata": {}, "weight_map": {${names.map((name) => `"${name}": "${first}"`).join(",")}}}`;
    const checkpoint = await open({ [first]: goodFile(tensors), [indexName]: map, "config.json": config });
    expect([...checkpoint.tensors.keys()].sort()).toEqual([...names].sort());
  });

  test("without config.json is warned of", async () => {
    const { warnings } = await open({ "model.safetensors": goodFile(tiny) });
    expect(warnings.map(({ message }) => message)).toEqual([
      '"m" has no config.json; the output will have none from it',
    ]);
  });

  test("with auto_map is warned of", async () => {
    const files = { "model.safetensors": goodFile(tiny), "config.json": '{"auto_map": {"AutoModel": "x--m.M"}}' };
    expect((await open(files)).warnings[0]!.message).toContain("auto_map");
  });

  test("on disk has the identity of its files, through links", async () => {
    await withFolder({ "model.safetensors": goodFile(tiny), "config.json": config }, async (path) => {
      const { files } = await openCheckpoint("m", localFolder(path));
      expect(files[0]!.identity!.size).toBe(files[0]!.byteLength);
      expect(files[0]!.identity!.mtimeNs).toMatch(/^\d{15,}$/);
      expect(JSON.parse(JSON.stringify(files))).toEqual([...files]);
    });
  });

  for (const [names, tied] of [
    [["model.embed_tokens.weight", "lm_head.weight"], false],
    [["model.embed_tokens.weight"], true],
    [["model.language_model.embed_tokens.weight"], true],
    [["transformer.wte.weight"], true],
    [["embed_tokens.weight", "language_model.lm_head.weight"], false],
    [["model.layers.0.weight"], false],
    [["lm_head.weight"], false],
    [["not_embed_tokens.weight"], false],
  ] as const) {
    test(`with ${names.join(" and ")} is ${tied ? "" : "not "}tied`, async () => {
      const tensors: NewTensor[] = names.map((name) => ({ name, dtype: "F32", shape: [1] }));
      expect((await open({ "model.safetensors": goodFile(tensors), "config.json": config })).tied).toBe(tied);
    });
  }
});

describe("a folder is refused", () => {
  const whole = goodFile(tiny);
  const renamed = (from: string, to: string): Files => {
    const map = Object.fromEntries(tiny.map(({ name }, i) => [name === from ? to : name, i < 2 ? first : second]));
    return sharded(map);
  };
  const without = (files: Files, name: string): Files =>
    Object.fromEntries(Object.entries(files).filter(([key]) => key !== name));
  const all = Object.fromEntries(tiny.map(({ name }) => [name, first]));

  for (const [what, files, kind, exit, says] of [
    [
      "that is empty",
      {},
      "file-not-found",
      66,
      'Cannot open "m": it has no model.safetensors, no model.safetensors.index.json and no other',
    ],
    [
      "with a pickle",
      { "pytorch_model.bin": "" },
      "pickle-input",
      65,
      'its weights are a pickle ("pytorch_model.bin"), which can run code',
    ],
    ["with a .pth", { "consolidated.00.pth": "" }, "pickle-input", 65, "save_pretrained"],
    ["with a .pt", { "model.pt": "" }, "pickle-input", 65, "python -c"],
    ["with a .ckpt", { "model.ckpt": "" }, "pickle-input", 65, "python -c"],
    [
      "with an adapter",
      { "adapter_config.json": "{}", "adapter_model.safetensors": whole },
      "recipe-unsupported",
      2,
      "it is an adapter",
    ],
    ["with a pickled adapter", { "adapter_model.bin": "" }, "recipe-unsupported", 2, "base+adapter"],
    [
      "with a file and an index",
      { ...sharded(), "model.safetensors": whole },
      "shard-index",
      65,
      "Cannot choose between",
    ],
    [
      "with shards and no index",
      without(sharded(), indexName),
      "shard-index",
      65,
      "and no model.safetensors.index.json",
    ],
    ["with one shard alone", { [first]: whole }, "shard-index", 65, "nothing says whether files are missing"],
    [
      "with two files and no index",
      { "a.safetensors": whole, "b.safetensors": whole },
      "shard-index",
      65,
      '"a.safetensors", "b.safetensors"',
    ],
    ["with a shard missing", without(sharded(), second), "shard-index", 65, `names "${second}", not in the folder`],
    [
      "with a tensor missing from its shard",
      renamed("lm_head.weight", "lm_head.bias"),
      "shard-index",
      65,
      `"lm_head.bias" should be in "${second}" and is not; "lm_head.weight" is in "${second}" and should not be`,
    ],
    ["with tensors in another shard", { ...sharded(all), [first]: goodFile([]) }, "shard-index", 65, "should be in"],
    ["with a tensor in two shards", { ...sharded(), [second]: whole }, "shard-index", 65, "and should not be"],
    [
      "with a broken header",
      { "model.safetensors": "12345678{" },
      "safetensors-header",
      65,
      'Cannot read header of "m/model.safetensors"',
    ],
    [
      "with a broken config",
      { "model.safetensors": whole, "config.json": "{," },
      "model-config",
      65,
      'Cannot read "m/config.json"',
    ],
    [
      "with a list as config",
      { "model.safetensors": whole, "config.json": "[]" },
      "model-config",
      65,
      "it is not an object",
    ],
  ] as [string, Files, ErrorKind, number, string][]) {
    test(what, async () => {
      const error = await failure(() => open(files));
      expect(error.message).toContain(says);
      expect(error.kind).toBe(kind);
      expect(error.exitCode).toBe(exit);
    });
  }
});

describe("an index is refused", () => {
  const read = (text: string | Uint8Array) =>
    readIndex(memorySource("i.json", typeof text === "string" ? utf8(text) : text));
  for (const [what, text, says] of [
    ["without metadata", '{"weight_map": {"a": "m.safetensors"}}', "metadata is missing"],
    ["without weight_map", '{"metadata": {}}', "weight_map is missing"],
    ["with an empty weight_map", indexText({}), "weight_map is empty"],
    ["with metadata that is null", indexText({ a: "m.safetensors" }, null), "metadata is not an object"],
    [
      "with a tensor twice",
      '{"metadata": {}, "weight_map": {"a": "m.safetensors", "\\u0061": "n.safetensors"}}',
      "comes twice",
    ],
    ["with weight_map twice", '{"metadata": {}, "weight_map": {}, "weight_map": {}}', "comes twice"],
    ["with a number as file", '{"metadata": {}, "weight_map": {"a": 1}}', "expected a file name"],
    ["with a pickle as file", indexText({ a: "pytorch_model-00001-of-00002.bin" }), "does not end in .safetensors"],
    ["that is a list", "[]", "expected an object"],
    ["that is not JSON", "{", "expected a name in double quotes"],
    ["that goes on", `${indexText({ a: "m.safetensors" })}x`, "after the end"],
    ["with a byte order mark", `\ufeff${indexText({ a: "m.safetensors" })}`, "U+FEFF"],
    ["that is not UTF-8", new Uint8Array([0x7b, 0xff]), "it is not UTF-8"],
  ] as [string, string | Uint8Array, string][]) {
    test(what, async () => {
      const error = await failure(() => read(text));
      expect(error.message).toContain('Cannot read "i.json": ');
      expect(error.message).toContain(says);
      expect(error.kind).toBe("shard-index");
    });
  }

  test("(as a config is) above its limit, before any of it is read", async () => {
    const huge = (name: string, byteLength: number): ByteSource => ({
      name,
      byteLength,
      read: () => {
        throw new Error("read");
      },
      close() {},
    });
    expect((await failure(() => readIndex(huge("i.json", maxIndexBytes + 1)))).message).toBe(
      'Cannot read "i.json": it has 10000001 bytes, the limit is 10000000',
    );
    const plain = folderOf({ "model.safetensors": goodFile(tiny), "config.json": "{}" });
    const folder: Folder = {
      ...plain,
      open: async (name) => (name === "config.json" ? huge(name, maxConfigBytes + 1) : plain.open(name)),
    };
    expect((await failure(() => openCheckpoint("m", folder))).message).toBe(
      'Cannot read "config.json": it has 1000001 bytes, the limit is 1000000',
    );
  });

  test("or read, and nothing else, whatever 2,000 mutants hold", async () => {
    const random = createRandom(7);
    const seed = indexText({ a: first, b: second, __proto__x: first }, { total_size: 12, x: [1.5, null, { y: "z" }] });
    const pieces = [
      '"',
      "{",
      "}",
      ",",
      ":",
      "[",
      "\\",
      "../",
      "/etc/",
      "\\u002e",
      "\0",
      "\ud800",
      "null",
      "1e999",
      '"a":"x.safetensors",',
    ];
    const wrong: unknown[] = [];
    for (let i = 0; i < 2000; i++) {
      const at = random(seed.length);
      const text = seed.slice(0, at) + pieces[random(pieces.length)]! + seed.slice(at + random(4));
      try {
        for (const shard of (await read(text)).shards)
          if (!/^[A-Za-z0-9][\w.-]*\.safetensors$/.test(shard)) wrong.push(shard);
      } catch (e) {
        if (!isBraidError(e)) wrong.push(e);
      }
    }
    expect(wrong).toEqual([]);
  });
});

describe("a weight_map that leads out of the folder", () => {
  const spellings = [
    "../evil.safetensors",
    "..//evil.safetensors",
    "./../evil.safetensors",
    "x/../../evil.safetensors",
    "../../evil.safetensors",
    "../../../../../../../../../../evil.safetensors",
    "/evil.safetensors",
    "//evil.safetensors",
    "/tmp/evil.safetensors",
    "/etc/passwd",
    "/proc/self/environ",
    "./evil.safetensors",
    ".//evil.safetensors",
    "sub/evil.safetensors",
    "sub/../evil.safetensors",
    "evil.safetensors/",
    "evil.safetensors/..",
    "..",
    ".",
    "",
    "...",
    "..\\evil.safetensors",
    "..\\..\\evil.safetensors",
    "\\evil.safetensors",
    "C:\\evil.safetensors",
    "C:/evil.safetensors",
    "C:evil.safetensors",
    "\\\\server\\share\\evil.safetensors",
    "\\\\?\\C:\\evil.safetensors",
    "file:///tmp/evil.safetensors",
    "https://example.com/evil.safetensors",
    "~/evil.safetensors",
    "$HOME/evil.safetensors",
    "%2e%2e/evil.safetensors",
    "..%2fevil.safetensors",
    "..\u2215evil.safetensors",
    "\uff0e\uff0e/evil.safetensors",
    "evil.safetensors\0.safetensors",
    "../evil\0.safetensors",
    "\n../evil.safetensors",
    " ../evil.safetensors",
    "evil.safetensors:stream",
    "-evil.safetensors",
    ".evil.safetensors",
    `${"a".repeat(260)}.safetensors`,
  ];

  test("is refused in 40 spellings and more, and no file is opened but the index", async () => {
    expect(new Set(spellings).size).toBeGreaterThan(39);
    const bait = {
      "evil.safetensors": goodFile(tiny),
      "m/sub/evil.safetensors": goodFile(tiny),
      "m/config.json": config,
    };
    for (const spelling of spellings) {
      const map = Object.fromEntries(tiny.map(({ name }) => [name, spelling]));
      await withFolder({ ...bait, [`m/${indexName}`]: indexText(map) }, async (path) => {
        const opened: string[] = [];
        const plain = localFolder(`${path}/m`);
        const folder: Folder = {
          ...plain,
          open: (file) => {
            opened.push(file);
            return plain.open(file);
          },
        };
        const error = await failure(() => openCheckpoint("m", folder));
        expect([spelling, error.kind, error.exitCode]).toEqual([spelling, "unsafe-path", 77]);
        expect(opened).toEqual([indexName]);
        // The folder itself holds the line too, should anything else ask.
        if (/[/\\\0]/.test(spelling)) expect((await failure(() => plain.open(spelling))).kind).toBe("unsafe-path");
      });
    }
  });
});

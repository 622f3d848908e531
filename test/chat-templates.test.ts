// The built-in chat templates against the prompt formats that the model families publish, rendered by the Jinja of
// Hugging Face's JavaScript libraries; and what `auto` chooses.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { chatTemplates } from "../src/chat-templates.ts";
import { isBraidError } from "../src/errors.ts";
import { merge } from "../src/merge.ts";
import { requestFor, testHost, withTempFolder } from "./support/host.ts";
import { writeModel } from "./support/models.ts";

const turns = [
  { role: "user", content: "Hi there" },
  { role: "assistant", content: "Hello" },
  { role: "user", content: "Bye" },
];
const system = [{ role: "system", content: "Be brief." }, ...turns];
const render = (name: string, messages: object[], add_generation_prompt: boolean) =>
  new Template(chatTemplates[name]!).render({ messages, add_generation_prompt, bos_token: "<s>", eos_token: "</s>" });

const expected: Record<string, [plain: string, withSystem: string]> = {
  chatml: [
    "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
  ],
  llama3: [
    "<s><|start_header_id|>user<|end_header_id|>\n\nHi there<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi there<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
  ],
  mistral: [
    "<s>[INST] Hi there [/INST] Hello</s>[INST] Bye [/INST]",
    "<s>[INST] Be brief.\n\nHi there [/INST] Hello</s>[INST] Bye [/INST]",
  ],
  exaone: [
    "[|system|][|endofturn|]\n[|user|]Hi there\n[|assistant|]Hello[|endofturn|]\n[|user|]Bye\n[|assistant|]",
    "[|system|]Be brief.[|endofturn|]\n[|user|]Hi there\n[|assistant|]Hello[|endofturn|]\n[|user|]Bye\n[|assistant|]",
  ],
  alpaca: [
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nHi there\n\n### Response:\nHello</s>\n\n### Instruction:\nBye\n\n### Response:\n",
    "Be brief.\n\n### Instruction:\nHi there\n\n### Response:\nHello</s>\n\n### Instruction:\nBye\n\n### Response:\n",
  ],
};

describe("built-in chat templates", () => {
  test("are those that mergekit names", () => {
    expect(Object.keys(chatTemplates).sort()).toEqual(["alpaca", "chatml", "exaone", "llama3", "mistral"]);
  });
  for (const [name, [plain, withSystem]] of Object.entries(expected)) {
    test(name, () => {
      expect(render(name, turns, true)).toBe(plain);
      expect(render(name, system, true)).toBe(withSystem);
      expect(plain.startsWith(render(name, turns, false))).toBe(true);
    });
  }
  test("mistral refuses turns that do not alternate", () => {
    expect(() => render("mistral", [turns[0]!, turns[0]!], false)).toThrow(/alternate/);
  });
});

describe("chat_template of a recipe", () => {
  const recipe = (folders: string[], template: string) =>
    JSON.stringify({
      merge_method: "linear",
      models: folders.map((model) => ({ model, parameters: { weight: 1 } })),
      chat_template: template,
    });
  async function merged(template: string, own: (string | null)[]) {
    return withTempFolder(async (temp) => {
      const folders = own.map((text, i) => {
        const folder = join(temp, `m${i}`);
        writeModel(folder, { w: { data: [1, 2, 3] } });
        writeFileSync(join(folder, "tokenizer.json"), "{}");
        writeFileSync(
          join(folder, "tokenizer_config.json"),
          JSON.stringify({ a: 1, ...(text ? { chat_template: text } : {}) }),
        );
        return folder;
      });
      const out = join(temp, "out");
      await merge(requestFor(recipe(folders, template)), out, { overwrite: false }, testHost());
      const path = join(out, "chat_template.jinja");
      const config = JSON.parse(readFileSync(join(out, "tokenizer_config.json"), "utf8")) as object;
      return { jinja: existsSync(path) ? readFileSync(path, "utf8") : null, config };
    });
  }

  test("a name", async () => {
    const { chatml } = chatTemplates;
    expect(await merged("chatml", [null])).toEqual({ jinja: chatml!, config: { a: 1, chat_template: chatml! } });
  });
  test("auto: the most common, the first of equals, none where nobody has one", async () => {
    expect((await merged("auto", ["{{a}}", "{{b}}", "{{b}}"])).jinja).toBe("{{b}}");
    expect((await merged("auto", [null, "{{b}}", "{{a}}"])).jinja).toBe("{{b}}");
    expect(await merged("auto", [null, null])).toEqual({ jinja: null, config: { a: 1 } });
  });
  test("text that is neither a name nor Jinja is refused", async () => {
    await expect(merged("chatmi", [null])).rejects.toThrow(/"chatmi": it is no known name/);
  });
  test("it is told together with what is wrong with the tensors", () =>
    withTempFolder(async (temp) => {
      const folders = ["a", "b"].map((name) => join(temp, name));
      folders.forEach((folder, i) => {
        writeModel(folder, { "model.embed_tokens.weight": { data: [1, 2, 3, 4].slice(i), shape: [4 - i, 1] } });
      });
      const run = merge(requestFor(recipe(folders, "chatmi")), join(temp, "out"), { overwrite: false }, testHost());
      const error = await run.catch((e) => e);
      expect(isBraidError(error) && error.diagnostics.map((d) => d.kind)).toEqual([
        "vocabulary-mismatch",
        expect.any(String),
      ]);
    }));
});

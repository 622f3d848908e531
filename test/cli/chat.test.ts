// `braid chat` and `braid eval` on the example models, under both runtimes.

import { describe, expect, test } from "bun:test";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { denoProgram, inFolder, root, start } from "./braid.ts";

const models = "examples/models";

describe("chat", () => {
  test("continues a prompt, and says how in JSON", async () => {
    const { exit, out, err } = await start(["chat", `${models}/ft-add`, "--prompt", "12+30="]);
    expect([exit, out, err]).toEqual([0, "42\n", ""]);
    const json = await start(["chat", `${models}/ft-rev`, "-p", "rev:abcd=", "--json"]);
    const { seconds, ...reply } = JSON.parse(json.out);
    expect(reply).toEqual({
      model: `${models}/ft-rev`,
      prompt: "rev:abcd=",
      text: "dcba",
      promptTokens: 10,
      tokens: 4,
      finish: "stop",
    });
    expect(seconds).toBeGreaterThan(0);
  });

  test("a reply that --max-tokens cuts says so", async () => {
    const { out } = await start(["chat", `${models}/ft-rev`, "-p", "rev:abcd=", "--max-tokens", "2", "--json"]);
    expect(JSON.parse(out)).toMatchObject({ text: "dc", tokens: 2, finish: "length" });
  });

  test("a seed gives one reply, at any temperature, under both runtimes", async () => {
    const say = async (seed: string) =>
      (await start(["chat", `${models}/base`, "-p", "rev:", "--temperature", "3", "--seed", seed])).out;
    expect(await say("5")).toBe(await say("5"));
    const deno = ["chat", `${models}/base`, "-p", "rev:", "--temperature", "3", "--seed", "5"];
    expect((await start(deno, { program: denoProgram })).out).toBe(await say("5"));
    expect(await say("5")).not.toBe(await say("6"));
  });

  test("a chat template is used unless --raw is given", async () => {
    await inFolder(async (folder) => {
      const model = join(folder, "model");
      cpSync(join(root, models, "ft-add"), model, { recursive: true });
      writeFileSync(
        join(model, "chat_template.jinja"),
        "{{ bos_token }}{% for m in messages %}{{ m.content | replace('plus', '+') }}{% endfor %}{% if add_generation_prompt %}={% endif %}",
      );
      expect((await start(["chat", model, "-p", "12plus30"])).out).toBe("42\n");
      const raw = await start(["chat", model, "-p", "12+30=", "--raw", "--json"]);
      expect(JSON.parse(raw.out)).toMatchObject({ text: "42", promptTokens: 7 });
      writeFileSync(join(model, "chat_template.jinja"), "{{ raise_exception('no such role') }}");
      const bad = await start(["chat", model, "-p", "x"]);
      expect(bad.exit).toBe(65);
      expect(bad.err).toContain("Cannot use the model's chat template");
    });
  });

  test("tells what it cannot run", async () => {
    await inFolder(async (folder) => {
      const model = join(folder, "model");
      cpSync(join(root, models, "base"), model, { recursive: true });
      const config = JSON.parse(readFileSync(join(model, "config.json"), "utf8"));
      const run = async (change: Record<string, unknown>, more: string[] = []) => {
        writeFileSync(join(model, "config.json"), JSON.stringify({ ...config, ...change }));
        const { exit, err } = await start(["chat", model, "-p", "1+1=", ...more]);
        return `${exit} ${err.split("\n")[0]!.replace(model, "MODEL")}`;
      };
      expect(await run({ model_type: "gemma" })).toBe(
        '65 error: Cannot run "MODEL": its model_type is "gemma", which is not one of those that are run',
      );
      expect(await run({ rope_parameters: { rope_type: "yarn", factor: 4 } })).toBe(
        '65 error: Cannot run "MODEL": its RoPE is scaled by "yarn"; default, linear and llama3 are known',
      );
      expect(await run({ num_hidden_layers: 3 })).toBe(
        '65 error: Cannot run "MODEL": its tensor "model.layers.3.input_layernorm.weight" has no part in the forward pass of llama',
      );
      expect(await run({ num_hidden_layers: 5 })).toBe(
        '65 error: Cannot run "MODEL": it has no tensor "model.layers.4.self_attn.q_proj.weight"',
      );
      expect(await run({ intermediate_size: 351 })).toBe(
        '65 error: Cannot run "MODEL": "model.layers.0.mlp.gate_proj.weight" is 352 × 128, by config.json it would be 351 × 128',
      );
      expect(await run({ hidden_size: "128" })).toBe(
        '65 error: Cannot run "MODEL": hidden_size of its config.json is "128", expected a whole number above 0',
      );
      expect(await run({}, ["--memory", "1MiB"])).toMatch(
        /^2 error: Cannot run "MODEL": it needs \d+ MiB \(2 MiB of weights\), the limit is 1 MiB$/,
      );
    });
  });
});

describe("eval", () => {
  test("scores every file, and the mean", async () => {
    const args = ["eval", `${models}/ft-add`, "--prompts", `${models}/tests`];
    const { exit, out } = await start([...args, "--wrong", "1"]);
    expect(exit).toBe(0);
    expect(out).toBe(`  add     100 %  300 of 300
  rev   17.33 %   52 of 300
  sort  19.67 %   59 of 300
  mean  45.67 %
rev: rev:lvbyd=lvbyd   expected dybvl
sort: sort:wqhkbts=wtsqkhb   expected bhkqstw
`);
    const json = JSON.parse((await start([...args, "--limit", "3", "--json"])).out);
    expect(json.tasks.map((t: { name: string; total: number }) => [t.name, t.total])).toEqual([
      ["add", 3],
      ["rev", 3],
      ["sort", 3],
    ]);
  });

  test("wants prompts, and names the line of a bad one", async () => {
    const none = await start(["eval", `${models}/base`]);
    expect([none.exit, none.err.split("\n")[0]]).toEqual([2, "error: Cannot score: no prompts are given"]);
    await inFolder(async (folder) => {
      const file = join(folder, "x.jsonl");
      writeFileSync(file, '{"prompt":"1+1=","answer":"2"}\n{"prompt":"1+1="}\n');
      const bad = await start(["eval", `${models}/base`, "--prompts", file]);
      expect(bad.exit).toBe(65);
      expect(bad.err).toContain("Cannot read line 2 of");
    });
  });
});

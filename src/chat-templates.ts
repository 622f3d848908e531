// Chat templates: mergekit's names for the usual ones, written here from each model family's published prompt format, and
// `auto`, which takes what most of the inputs have.

import { readWhole } from "./bytes/source.ts";
import { fail, quote } from "./errors.ts";
import type { OpenedModel } from "./models.ts";
import type { ParsedRecipe } from "./recipe/recipe.ts";
import { isRecord, parseJson } from "./tensor/config.ts";

/** Templates are a few kilobytes; the longest published ones stay below 50. */
const maxTemplateBytes = 1_000_000;

const alpaca = `{%- if messages and messages[0]['role'] == 'system' -%}
{{ messages[0]['content'] | trim }}
{%- set turns = messages[1:] -%}
{%- else -%}
Below is an instruction that describes a task. Write a response that appropriately completes the request.
{%- set turns = messages -%}
{%- endif -%}
{%- for turn in turns -%}
{%- if turn['role'] == 'user' -%}
{{ '\\n\\n### Instruction:\\n' + turn['content'] | trim }}
{%- elif turn['role'] == 'assistant' -%}
{{ '\\n\\n### Response:\\n' + turn['content'] | trim + eos_token }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '\\n\\n### Response:\\n' }}
{%- endif -%}
`;

const chatml = `{%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}
`;

const exaone = `{%- if not messages or messages[0]['role'] != 'system' -%}
{{ '[|system|][|endofturn|]\\n' }}
{%- endif -%}
{%- for message in messages -%}
{{ '[|' + message['role'] + '|]' + message['content'] }}
{%- if message['role'] == 'user' -%}
{{ '\\n' }}
{%- else -%}
{{ '[|endofturn|]\\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '[|assistant|]' }}
{%- endif -%}
`;

const llama3 = `{{- bos_token -}}
{%- for message in messages -%}
{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif -%}
`;

const mistral = `{%- if messages and messages[0]['role'] == 'system' -%}
{%- set system = messages[0]['content'] | trim + '\\n\\n' -%}
{%- set turns = messages[1:] -%}
{%- else -%}
{%- set system = '' -%}
{%- set turns = messages -%}
{%- endif -%}
{{ bos_token }}
{%- for turn in turns -%}
{%- if (turn['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('Turns must alternate between user and assistant, and the user begins') }}
{%- endif -%}
{%- if turn['role'] == 'user' -%}
{{ '[INST] ' + (system if loop.first else '') + turn['content'] | trim + ' [/INST]' }}
{%- else -%}
{{ ' ' + turn['content'] | trim + eos_token }}
{%- endif -%}
{%- endfor -%}
`;

export const chatTemplates: Readonly<Record<string, string>> = { alpaca, chatml, exaone, llama3, mistral };

/** What the recipe's `chat_template` writes, or null to keep the tokenizer's own. @throws `recipe-schema` for an unknown name. */
export async function chatTemplate(recipe: ParsedRecipe, opened: readonly OpenedModel[]): Promise<string | null> {
  const asked = recipe.chatTemplate;
  if (asked === undefined) return null;
  if (asked === "auto") {
    const found = await Promise.all(opened.map(templateOf));
    return mostCommon(found.filter((t): t is string => t !== null));
  }
  if (Object.hasOwn(chatTemplates, asked)) return chatTemplates[asked]!;
  if (/\{[{%]/.test(asked)) return asked;
  return fail("recipe-schema", `Cannot use the chat template ${quote(asked)}: it is no known name and no Jinja text`, {
    hint: `It is one of auto, ${Object.keys(chatTemplates).join(", ")}, or the Jinja text itself.`,
  });
}

/** Of those as frequent, the first. */
function mostCommon(texts: readonly string[]): string | null {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  let best: string | null = null;
  for (const [text, count] of counts) if (best === null || count > counts.get(best)!) best = text;
  return best;
}

/** A model's own template, from wherever transformers would take it: the .jinja file, then the JSON files. */
async function templateOf({ model: checkpoint, location: { folder } }: OpenedModel): Promise<string | null> {
  for (const name of ["chat_template.jinja", "chat_template.json", "tokenizer_config.json"]) {
    if (!checkpoint.sidecars.includes(name)) continue;
    const source = await folder.open(name);
    try {
      const bytes = await readWhole(source, name.endsWith(".jinja") ? maxTemplateBytes : 100 * maxTemplateBytes, (n) =>
        fail("model-config", `Cannot read ${quote(source.name, 4096)}: it has ${n} bytes`),
      );
      const text = new TextDecoder().decode(bytes);
      if (name.endsWith(".jinja")) return text;
      const value = parseJson(source.name, text);
      if (isRecord(value) && typeof value.chat_template === "string") return value.chat_template;
    } finally {
      await source.close();
    }
  }
  return null;
}

/** tokenizer_config.json with this template, which older loaders read there and nowhere else. */
export function withTemplate(config: string, template: string): string {
  const value = parseJson("tokenizer_config.json", config);
  return isRecord(value) ? `${JSON.stringify({ ...value, chat_template: template }, null, 2)}\n` : config;
}

// `braid chat`: what a small model says to a prompt, token by token as it comes.

import { createInterface } from "node:readline";
import { text as readAll } from "node:stream/consumers";
import { fail } from "../errors.ts";
import { conversationTokens, createDetokenizer, type Message } from "../infer/conversation.ts";
import { generate } from "../infer/generate.ts";
import { stopsOf } from "../infer/score.ts";
import { formatSeconds, plural, printable } from "./format.ts";
import type { Context } from "./main.ts";
import { openRunnable, type Runnable } from "./network.ts";
import type { CommandOf } from "./program.ts";

interface Reply {
  readonly text: string;
  readonly promptTokens: number;
  readonly tokens: number;
  /** "stop": the model ended it; "length": --max-tokens did. */
  readonly finish: "stop" | "length";
  readonly seconds: number;
}

/** Line breaks and tabs stay; other control characters of a model's text do not reach the terminal. */
const safe = (text: string) =>
  text
    .split(/([\n\t])/)
    .map((part) => (part === "\n" || part === "\t" ? part : printable(part)))
    .join("");

async function reply(
  { network, tokenizer }: Runnable,
  messages: readonly Message[],
  command: CommandOf<"chat">,
  signal: AbortSignal,
  say: (text: string) => void,
): Promise<Reply> {
  const prompt = conversationTokens(tokenizer, messages, command.raw);
  const started = performance.now();
  const fresh = createDetokenizer(tokenizer);
  const heard: number[] = [];
  const room = network.architecture.context - prompt.length + 1;
  if (room < 1) {
    fail(
      "usage",
      `Cannot answer: the prompt has ${plural(prompt.length, "token")}, the model was made for ${network.architecture.context}`,
    );
  }
  const maxTokens = Math.min(command.maxTokens, room);
  const { temperature, seed } = command;
  const [tokens] = await generate(network, [prompt], {
    maxTokens,
    stops: stopsOf(network, tokenizer),
    temperature,
    seed,
    signal,
    onToken: (_, token) => {
      heard.push(token);
      say(fresh(heard, false));
    },
    // Signals are heard between tokens.
    pause: () => new Promise((resolve) => setTimeout(resolve, 0)),
  });
  say(fresh(heard, true));
  return {
    text: tokenizer.decode(tokens!, true),
    promptTokens: prompt.length,
    tokens: tokens!.length,
    finish: tokens!.length < maxTokens ? "stop" : "length",
    seconds: (performance.now() - started) / 1000,
  };
}

const rate = (r: Reply) =>
  `${plural(r.tokens, "token")} in ${formatSeconds(r.seconds)}${r.finish === "length" ? ", cut there" : ""}`;

export async function runChat(command: CommandOf<"chat">, context: Context): Promise<number> {
  const { out, err } = context.terminal;
  const { signal } = context;
  const interactive = command.prompt === undefined && process.stdin.isTTY === true;
  if (interactive && command.json) fail("usage", "Cannot talk in JSON on a terminal: give --prompt");
  const model = await openRunnable(command.model, command.memory, context);
  if (!interactive) {
    const prompt = command.prompt ?? (await readAll(process.stdin)).replace(/\r?\n$/, "");
    if (prompt === "") fail("usage", "Cannot answer: the prompt is empty");
    const messages: Message[] = [{ role: "user", content: prompt }];
    const say = command.json ? () => {} : (text: string) => out.write(safe(text));
    const answer = await reply(model, messages, command, signal, say);
    if (command.json) out.write(`${JSON.stringify({ model: command.model, prompt, ...answer }, null, 2)}\n`);
    else out.write("\n");
    if (!command.json && !command.quiet && err.isTTY) err.write(`${rate(answer)}\n`);
    return 0;
  }
  const asked = model.tokenizer.template !== null && !command.raw;
  if (!command.quiet) {
    err.write(
      `${asked ? "The model's chat template is used." : "The model has no chat template: it continues each line."} Ctrl-D ends.\n`,
    );
  }
  let messages: Message[] = [];
  const typed = createInterface({ input: process.stdin, output: process.stdout, prompt: "> " });
  signal.addEventListener("abort", () => typed.close(), { once: true });
  // On a terminal Ctrl-C goes to the reader of lines.
  typed.on("SIGINT", () => process.kill(process.pid, "SIGINT"));
  typed.prompt();
  for await (const line of typed) {
    if (line.trim() !== "") {
      messages = [...(asked ? messages : []), { role: "user", content: line }];
      const answer = await reply(model, messages, command, signal, (text) => out.write(safe(text)));
      messages.push({ role: "assistant", content: answer.text });
      out.write("\n");
    }
    typed.prompt();
  }
  signal.throwIfAborted();
  out.write("\n");
  return 0;
}

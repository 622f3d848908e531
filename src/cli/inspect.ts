import type { Context } from "./main.ts";
import type { CommandOf } from "./program.ts";
export async function runInspect(command: CommandOf<"inspect">, context: Context): Promise<number> {
  context.terminal.out.write(JSON.stringify(command) + "\n");
  return 0;
}

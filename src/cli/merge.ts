import type { Context } from "./main.ts";
import type { CommandOf } from "./program.ts";
export async function runMerge(command: CommandOf<"merge">, context: Context): Promise<number> {
  context.terminal.out.write(JSON.stringify(command) + "\n");
  return 0;
}

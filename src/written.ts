// How far each output file is complete from its start: slices finish in about the order of the file, not in it.

import type { Task } from "./kernel/program.ts";
import type { Plan } from "./plan/plan.ts";
import { byteWidth } from "./tensor/dtype.ts";

export class Written {
  /** Per file: ends of finished ranges by their starts, and the mark that everything lies before. */
  private readonly files: { readonly waiting: Map<number, number>; mark: number }[];
  private readonly inputs: number;

  constructor(plan: Plan) {
    this.inputs = plan.inputFiles.length;
    this.files = plan.outputs.map((f) => ({ waiting: new Map(), mark: (f.header.length / 4) * 3 - padding(f.header) }));
    // Tensors of no elements take no bytes and no tasks.
  }

  /** Notes a finished task. Returns its file and the mark, or null when it wrote nothing. */
  add(task: Task): { file: number; mark: number } | null {
    if (task.kind !== "merge") return null;
    const width = task.program.op === "copy" ? task.program.byteWidth : byteWidth(task.program.out);
    const file = task.output.file - this.inputs;
    const state = this.files[file]!;
    const start = task.output.start + task.first * width;
    state.waiting.set(start, start + task.count * width);
    for (let end = state.waiting.get(state.mark); end !== undefined; end = state.waiting.get(state.mark)) {
      state.waiting.delete(state.mark);
      state.mark = end;
    }
    return { file, mark: state.mark };
  }
}

function padding(base64: string): number {
  return base64.endsWith("==") ? 2 : base64.endsWith("=") ? 1 : 0;
}

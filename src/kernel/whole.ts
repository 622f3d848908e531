// What programs on whole matrices begin with: a worker's memory grown to what the task takes, readers of its inputs, and a pause
// between steps that tells how far it is.

import type { FloatDtype } from "../tensor/dtype.ts";
import type { Pause } from "./algebra.ts";
import type { Kernel } from "./kernel.ts";
import { kernelsFor, type LaneKernels } from "./lanes.ts";
import { NonFiniteTally } from "./non-finite.ts";
import { Scratch } from "./operand.ts";
import type { MergeTask } from "./program.ts";
import type { TaskIo } from "./task-io.ts";
import { createReader, type Reader, readerBytes } from "./view.ts";

export interface Whole {
  readonly readers: readonly Reader[];
  readonly lanes: readonly LaneKernels[];
  readonly nonFinite: NonFiniteTally;
  readonly pause: Pause;
  /** The address of the next so many bytes, 64-byte aligned. */
  take(bytes: number): number;
  /** The first address that was not taken. */
  end(): number;
}

/** `bytes`: what the task takes in all, given what reading its views takes; `flops`: its arithmetic. */
export function openWhole(
  kernel: Kernel,
  task: MergeTask,
  dtypes: readonly FloatDtype[],
  io: TaskIo,
  { bytes, flops }: { bytes: (viewBytes: number) => number; flops: number },
  signal?: AbortSignal,
): Whole {
  const viewBytes = task.inputs.reduce((sum, i) => sum + readerBytes(i), 0);
  kernel.reserve(bytes(viewBytes));
  let at = kernel.heapStart;
  const take = (n: number) => {
    const here = at;
    at = Math.ceil((at + n) / 64) * 64;
    return here;
  };
  const views = take(viewBytes);
  const scratch = new Scratch({ start: views, end: views + viewBytes });
  let done = 0;
  return {
    readers: task.inputs.map((input, i) => createReader(kernel, input, dtypes[i]!, io, scratch)),
    lanes: dtypes.map((d) => kernelsFor(kernel, d)),
    nonFinite: new NonFiniteTally(dtypes.length),
    pause: (step) => {
      signal?.throwIfAborted();
      done += step;
      return io.beat?.(Math.min(0.99, done / flops));
    },
    take,
    end: () => at,
  };
}

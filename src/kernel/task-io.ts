// How a task reaches what is outside the worker's memory.

import type { Location } from "./program.ts";

/** How tensor bytes reach the kernel's memory and leave it. Both may answer at once or with a promise. */
export interface TaskIo {
  read(at: Location, offset: number, target: Uint8Array): void | Promise<void>;
  write(at: Location, offset: number, data: Uint8Array): void | Promise<void>;
  /** Told between blocks of a long task how much of it is done, in [0, 1). Throws when nobody waits for it any more. */
  beat?(share: number): void | Promise<void>;
}

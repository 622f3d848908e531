// Time that passes only when nothing is left to do, and things of which there is one: links, disks, threads.

import type { Clock } from "../../src/remote/clock.ts";

interface Timer {
  readonly at: number;
  /** Timers of the same time fire in the order in which they were set. */
  readonly order: number;
  readonly fire: () => void;
  dead: boolean;
}

const before = (a: Timer, b: Timer): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/** Virtual milliseconds. All that waits must wait for it: what waits for the machine's own clock, disk or threads does not count. */
export class World implements Clock {
  /** A binary heap, the next one first. */
  private readonly timers: Timer[] = [];
  private time = 0;
  private set = 0;

  now(): number {
    return this.time;
  }

  wait(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const timer: Timer = { at: this.time + Math.max(0, ms), order: this.set++, fire: () => done(), dead: false };
      const done = () => {
        timer.dead = true;
        signal?.removeEventListener("abort", done);
        resolve();
      };
      signal?.addEventListener("abort", done, { once: true });
      this.push(timer);
    });
  }

  /** Lets time pass until the work is done. */
  async run<T>(work: Promise<T>): Promise<T> {
    let over = false;
    const end = () => {
      over = true;
    };
    work.then(end, end);
    for (;;) {
      // Everything that can go on without time goes on before it passes.
      await new Promise<void>((resolve) => setImmediate(resolve));
      if (over) return work;
      let next = this.pop();
      while (next?.dead) next = this.pop();
      if (!next) throw new Error("Everything waits, and no time is set for anything");
      this.time = next.at;
      next.fire();
    }
  }

  private push(timer: Timer): void {
    const { timers } = this;
    let i = timers.push(timer) - 1;
    for (let up = (i - 1) >> 1; i > 0 && before(timer, timers[up]!); up = (i - 1) >> 1) {
      timers[i] = timers[up]!;
      i = up;
    }
    timers[i] = timer;
  }

  private pop(): Timer | undefined {
    const { timers } = this;
    const first = timers[0];
    const last = timers.pop();
    if (!last || timers.length === 0) return first;
    let i = 0;
    for (let child = 1; child < timers.length; child = 2 * i + 1) {
      if (child + 1 < timers.length && before(timers[child + 1]!, timers[child]!)) child++;
      if (!before(timers[child]!, last)) break;
      timers[i] = timers[child]!;
      i = child;
    }
    timers[i] = last;
    return first;
  }
}

/** Something that does one thing after the other, in the order asked for: `lanes` of it side by side. */
export class Resource {
  /** Milliseconds of work done. */
  busy = 0;
  private readonly world: World;
  private readonly free: number[];

  constructor(world: World, lanes = 1) {
    this.world = world;
    this.free = new Array<number>(lanes).fill(0);
  }

  /** Resolves when `ms` of it are done for whoever asks. */
  use(ms: number): Promise<void> {
    let lane = 0;
    for (let i = 1; i < this.free.length; i++) if (this.free[i]! < this.free[lane]!) lane = i;
    const now = this.world.now();
    const end = Math.max(now, this.free[lane]!) + ms;
    this.free[lane] = end;
    this.busy += ms;
    return this.world.wait(end - now);
  }
}

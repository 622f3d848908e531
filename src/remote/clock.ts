// Time as a parameter, so that tests can hurry it.

export interface Clock {
  /** Milliseconds, never going back. */
  now(): number;
  /** Resolves after so many of them, or at once when the signal is aborted; it never rejects. */
  wait(ms: number, signal?: AbortSignal): Promise<void>;
}

/** Looks every so many milliseconds; resolves when the signal is aborted. */
export async function every(ms: number, clock: Clock, signal: AbortSignal, look: (now: number) => void): Promise<void> {
  while (!signal.aborted) {
    await clock.wait(ms, signal);
    if (!signal.aborted) look(clock.now());
  }
}

/** `rate`: how many milliseconds of it pass in one of the machine's. */
export function realClock(now: () => number, rate = 1): Clock {
  return {
    now: () => now() * rate,
    wait(ms, signal) {
      if (signal?.aborted) return Promise.resolve();
      return new Promise((resolve) => {
        const stop = () => {
          clearTimeout(timer);
          signal?.removeEventListener("abort", stop);
          resolve();
        };
        const timer = setTimeout(stop, ms / rate);
        signal?.addEventListener("abort", stop, { once: true });
      });
    },
  };
}

/** What a task asks of the stand-in worker. */
export const order = { answer: 0, fail: 1, bug: 2, exit: 3, exitOnce: 4, spin: 5, hang: 6, beat: 7 } as const;

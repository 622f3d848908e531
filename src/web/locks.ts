// Locks between the tabs of one origin. A tab that is closed gives its locks back.

/** Holds the lock `name` until the answer is called; null when another tab, or this one, has it. */
export async function holdLock(name: string): Promise<(() => void) | null> {
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  const { promise: got, resolve: settle, reject } = Promise.withResolvers<boolean>();
  navigator.locks
    .request(`braid ${name}`, { ifAvailable: true }, (lock) => {
      settle(lock !== null);
      return lock ? held : undefined;
    })
    .catch(reject);
  return (await got) ? release : null;
}

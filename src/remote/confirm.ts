// The last question to nodes that others help: whether they found a helper out after they had answered.

import { NodeError } from "./client.ts";
import type { Clock } from "./clock.ts";
import type { Member } from "./member.ts";

/** For the last word of a node. */
const confirmMs = 10_000;

/** `lied` is told of nodes that recall what they did, `silent` of those that cannot be asked any more: they are taken at their worst. */
export async function confirmHelped(
  members: readonly Member[],
  clock: Clock,
  lied: (member: Member, message: string) => void,
  silent: (member: Member) => void,
): Promise<void> {
  const ask = async (member: Member) => {
    const over = new AbortController();
    const late = clock.wait(confirmMs, over.signal).then(() => over.abort());
    try {
      await member.client.about(over.signal);
    } catch (error) {
      if (error instanceof NodeError && error.fault === "wrong") lied(member, error.message);
      else silent(member);
    }
    over.abort();
    await late;
  };
  await Promise.all(members.filter((m) => m.relays && m.record.hasUnseen).map(ask));
}

// What several nodes of strangers say of one task. Where they differ, this machine knows.

import { type Auditor, receiptHash } from "./audit.ts";
import type { TaskResult } from "./kernels.ts";
import type { Member } from "./member.ts";
import type { NodeCall } from "./node-call.ts";
import { sha256Hex } from "./sign.ts";

/** Equal for equal answers. */
export async function answerHash({ receipt, output }: TaskResult): Promise<string> {
  return `${receiptHash(receipt)} ${await sha256Hex(output)}`;
}

export interface Agreement {
  readonly result: TaskResult;
  readonly members: readonly Member[];
}

/** The right one of a call's answers, and who gave it; null when none is. `lied` is told of the others, with what is wrong. */
export async function findAgreement(
  { task, answers }: NodeCall,
  auditor: Auditor,
  lied: (member: Member, why: string) => void,
): Promise<Agreement | null> {
  let right = answers[0]!;
  if (answers.some((a) => a.sha256 !== right.sha256)) {
    const faults = new Map<string, string | null>();
    for (const { sha256, result } of answers)
      if (!faults.has(sha256)) faults.set(sha256, await auditor.fault(task, result, true));
    const found = answers.find((a) => faults.get(a.sha256) === null);
    for (const { member, sha256 } of answers.filter((a) => faults.get(a.sha256) !== null))
      lied(member, faults.get(sha256)!);
    if (!found) return null;
    right = found;
  }
  return {
    result: right.result,
    members: answers.filter((a) => a.sha256 === right.sha256).map((a) => a.member),
  };
}

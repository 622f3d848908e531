// The secret that a node and those who use it share.

import { readFileSync } from "node:fs";
import { fail, quote } from "../errors.ts";
import { tokenBytes } from "../remote/sign.ts";
import type { Context } from "./main.ts";

/** A token from a file or the environment; null when there is none. */
export function readToken(file: string | undefined, env: Context["env"]): string | null {
  let token = env.BRAID_TOKEN;
  if (file !== undefined) {
    try {
      token = readFileSync(file, "utf8");
    } catch (e) {
      fail("file-not-found", `Cannot read the token in ${quote(file)}: ${(e as { code?: string }).code ?? e}`);
    }
  }
  token = token?.trim();
  if (!token) return null;
  const length = new TextEncoder().encode(token).length;
  if (length < tokenBytes) {
    fail("usage", `Cannot use this token: it has ${length} bytes, the least is ${tokenBytes}`, {
      hint: "Make one: head -c 32 /dev/urandom | base64 > token",
    });
  }
  return token;
}

// Where may be listened, and what that address is called.

import { fail } from "../errors.ts";

const loopback = /^(127\.\d+\.\d+\.\d+|::1|localhost)$/;

/** Beyond this machine only with a token, and with TLS in front or by the user's own word. */
export function checkBind(host: string, token: string | null, insecure: boolean): void {
  if (loopback.test(host)) return;
  if (token === null) {
    fail("usage", `Cannot listen on ${host} without a token: whoever reaches it could use this machine`, {
      hint: "Give --token-file or BRAID_TOKEN.",
    });
  }
  checkInsecure(host, insecure);
}

/** Beyond this machine plain HTTP is for those who say that they want it. */
export function checkInsecure(host: string, insecure: boolean): void {
  if (loopback.test(host) || insecure) return;
  fail(
    "usage",
    `Cannot listen on ${host} by plain HTTP: requests are signed, but what they carry can be read on the way`,
    {
      hint: "Put a proxy with TLS in front of 127.0.0.1, or give --insecure-http.",
    },
  );
}

export const originOf = (host: string, port: number): string =>
  `http://${host.includes(":") ? `[${host}]` : host}:${port}`;

// A NATS server of a test's own: a free port on loopback, a folder that is gone afterwards.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

const PATH = `${process.env.PATH ?? ""}${delimiter}/usr/sbin${delimiter}/usr/local/sbin`;

/** Why these tests cannot run here, or null. */
export const noServer =
  spawnSync("nats-server", ["--version"], { env: { PATH } }).status === 0
    ? null
    : "nats-server is not installed (Debian: apt-get install nats-server)";

/** A server that hangs does not outlive its test by more than this. */
const lifeMs = 110_000;

export interface Server {
  readonly url: string;
  readonly port: number;
  /** With the same port and folder. */
  restart(downMs: number): Promise<void>;
  stop(): Promise<void>;
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.on("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}

const ended = (child: ChildProcess) =>
  child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve()
    : new Promise<void>((resolve) => child.on("exit", () => resolve()));

export async function startServer(args: readonly string[] = ["-js"]): Promise<Server> {
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "braid-nats-"));
  let child: ChildProcess;
  const begin = () => {
    const all = ["-a", "127.0.0.1", "-p", String(port), "-sd", folder, ...args];
    const started = spawn("nats-server", all, { env: { PATH }, stdio: ["ignore", "ignore", "pipe"] });
    child = started;
    const life = setTimeout(() => started.kill("SIGKILL"), lifeMs);
    return new Promise<void>((resolve, reject) => {
      let said = "";
      started.stderr!.on("data", (text) => {
        said += text;
        if (said.includes("Server is ready")) resolve();
      });
      started.on("exit", (code) => {
        clearTimeout(life);
        reject(new Error(`nats-server ended with ${code}: ${said}`));
      });
    });
  };
  await begin();
  return {
    url: `nats://127.0.0.1:${port}`,
    port,
    async restart(downMs) {
      child.kill("SIGKILL");
      await ended(child);
      await new Promise((resolve) => setTimeout(resolve, downMs));
      await begin();
    },
    async stop() {
      child.kill("SIGKILL");
      await ended(child);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

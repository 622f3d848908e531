import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tar } from "../../src/web/tar.ts";

const hasTar = spawnSync("tar", ["--version"]).status === 0;

test.skipIf(!hasTar)(`tar unpacks what the page hands out${hasTar ? "" : " (skipped: there is no tar)"}`, async () => {
  const folder = mkdtempSync(join(tmpdir(), "braid-tar-"));
  try {
    const files = [0, 1, 511, 512, 513, 70_000].map((length) => ({
      name: `file-${length}.bin`,
      bytes: Uint8Array.from({ length }, (_, i) => (i * 7 + length) & 255),
    }));
    const archive = tar(
      "merged",
      files.map(({ name, bytes }) => ({ name, blob: new Blob([bytes]) })),
    );
    writeFileSync(join(folder, "merged.tar"), new Uint8Array(await archive.arrayBuffer()));
    const { status, stderr } = spawnSync("tar", ["-xf", "merged.tar"], { cwd: folder });
    expect(stderr.toString()).toBe("");
    expect(status).toBe(0);
    for (const { name, bytes } of files) {
      expect(Buffer.compare(readFileSync(join(folder, "merged", name)), bytes)).toBe(0);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("a file of 8 GiB and more says its length in base 256", async () => {
  const large = Object.defineProperty(new Blob([]), "size", { value: 2 ** 33 + 2 ** 20 + 5 });
  const head = new Uint8Array(
    await tar("m", [{ name: "x", blob: large }])
      .slice(0, 512)
      .arrayBuffer(),
  );
  expect([...head.subarray(124, 136)]).toEqual([0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0x10, 0, 5]);
  const sum = head.reduce((total, byte, i) => total + (i >= 148 && i < 156 ? 32 : byte), 0);
  expect(Number.parseInt(new TextDecoder().decode(head.subarray(148, 154)), 8)).toBe(sum);
});

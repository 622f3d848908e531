import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { compileKernel } from "../../src/kernel/kernel.ts";
import { Sha256 } from "../../src/kernel/sha256.ts";

const module = compileKernel();
const message = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 131 + (i >> 8) * 7) & 255);
const hex = (text: string) => {
  const hash = new Sha256(module);
  hash.update(new TextEncoder().encode(text));
  return hash.digest();
};

test("FIPS 180-4's own examples", () => {
  expect(hex("abc")).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  expect(hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")).toBe(
    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
  );
});

test("every length around a block and a padding, against the runtime's own", () => {
  for (let length = 0; length <= 200; length++) {
    const hash = new Sha256(module);
    hash.update(message(length));
    expect(hash.digest()).toBe(createHash("sha256").update(message(length)).digest("hex"));
  }
});

test("pieces of any length give the digest of the whole, beyond the room for pieces too", () => {
  const whole = message(700_001);
  const want = createHash("sha256").update(whole).digest("hex");
  for (const step of [1_000, 65_536, 262_143, 262_144, 262_209, 700_001]) {
    const hash = new Sha256(module);
    for (let at = 0; at < whole.length; at += step) hash.update(whole.subarray(at, at + step));
    expect(hash.digest()).toBe(want);
  }
});

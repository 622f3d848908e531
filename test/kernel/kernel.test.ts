import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { isBraidError } from "../../src/errors.ts";
import { compileKernel, createKernel, kernelSha256 } from "../../src/kernel/kernel.ts";

const module = compileKernel();

describe("the compiled kernels", () => {
  test("import nothing, so they do the same wherever they run", () => {
    expect(WebAssembly.Module.imports(module)).toEqual([]);
  });

  test("are named by the SHA-256 of their bytes", () => {
    const wasm = readFileSync(new URL("../../build/kernels.wasm", import.meta.url));
    expect(createHash("sha256").update(wasm).digest("hex")).toBe(kernelSha256);
  });

  test("export what the host's interface names, and the memory", () => {
    const tables = ["exports", "survey-exports", "merge-exports", "matrix-exports"];
    const typed = tables.flatMap((table) => {
      const source = readFileSync(new URL(`../../src/kernel/${table}.ts`, import.meta.url), "utf8");
      const body = source.slice(source.indexOf("export interface"));
      return [...body.matchAll(/^ {2}(\w+)[(:]/gm)].map((match) => match[1]!);
    });
    const exported = WebAssembly.Module.exports(module).map((e) => e.name);
    expect([...typed, "memory"].sort()).toEqual(exported.sort());
  });

  test("use no relaxed SIMD, which engines may round as they like", () => {
    const text = readFileSync(new URL("../../build/kernels.wat", import.meta.url), "utf8");
    expect(text.includes("relaxed")).toBe(false);
  });
});

describe("a kernel", () => {
  test("has the memory that was asked for, from an aligned address on", () => {
    for (const size of [0, 1, 65536, 1_000_003]) {
      const kernel = createKernel(module, size);
      expect(kernel.heapStart % 64).toBe(0);
      expect(kernel.heapStart >= kernel.exports.heap_base()).toBe(true);
      expect(kernel.byteLength >= size).toBe(true);
      expect(kernel.heapStart + kernel.byteLength).toBe(kernel.memory.buffer.byteLength);
      kernel.u8(kernel.heapStart, kernel.byteLength).fill(1);
    }
  });

  test("shares nothing with another", () => {
    const [a, b] = [createKernel(module, 64), createKernel(module, 64)];
    a.u8(a.heapStart, 64).fill(1);
    b.u8(b.heapStart, 64).fill(2);
    expect(a.u8(a.heapStart, 1)[0]).toBe(1);
  });

  test("that is too large for the engine is refused with a reason", () => {
    try {
      createKernel(module, 2 ** 33);
      throw new Error("was not refused");
    } catch (e) {
      expect(isBraidError(e) && e.kind).toBe("memory-budget");
    }
  });
});

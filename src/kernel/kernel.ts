// An instance of the compiled kernels with its own memory. The kernels themselves are in assembly/.

import { instantiateSync } from "@assemblyscript/loader";
import { fromBase64 } from "../bytes/base64.ts";
import { fail } from "../errors.ts";
import type { KernelExports, Pointer } from "./exports.ts";
import { kernelBase64, kernelSha256 } from "./wasm.ts";

export { kernelSha256 };

/** The fused kernels take up to this many models. */
export const maxFusedModels = 64;

export interface Kernel {
  readonly exports: KernelExports;
  readonly memory: WebAssembly.Memory;
  /** The first byte that is the caller's, a multiple of 64. */
  readonly heapStart: Pointer;
  /** How many bytes from `heapStart` on are the caller's. */
  readonly byteLength: number;
  /** A view on the memory, good until `reserve` grows it. */
  u8(pointer: Pointer, byteLength: number): Uint8Array<ArrayBuffer>;
  /**
   * Sees to it that at least `bytes` bytes are the caller's, and leaves what they hold.
   *
   * @throws BraidError `memory-budget` when the engine does not give that much.
   */
  reserve(bytes: number): void;
}

const pageBytes = 65536;
/** A cache line. */
const alignment = 64;

/** Compiles the embedded kernels. Do it once; modules can be posted to other threads. */
export function compileKernel(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(fromBase64(kernelBase64));
  return compiled;
}

let compiled: WebAssembly.Module | null = null;

/**
 * An instance with at least `bytes` bytes of memory for the caller.
 *
 * @throws BraidError `memory-budget` when the engine does not give that much.
 */
export function createKernel(module: WebAssembly.Module, bytes: number): Kernel {
  const { exports } = instantiateSync<KernelExports & Record<string, unknown>>(module);
  const memory = exports.memory!;
  const heapStart = Math.ceil(exports.heap_base() / alignment) * alignment;
  const reserve = (wanted: number): void => {
    const missing = heapStart + wanted - memory.buffer.byteLength;
    if (missing <= 0) return;
    try {
      memory.grow(Math.ceil(missing / pageBytes));
    } catch (cause) {
      fail("memory-budget", `Cannot give the kernels ${wanted} bytes of memory: the engine refuses`, { cause });
    }
  };
  reserve(bytes);
  return {
    exports,
    memory,
    heapStart,
    get byteLength() {
      return memory.buffer.byteLength - heapStart;
    },
    u8: (pointer, byteLength) => new Uint8Array(memory.buffer, pointer, byteLength),
    reserve,
  };
}

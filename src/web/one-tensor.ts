// One tensor of every model as models of their own, under the same names: what a recipe does to it can then be seen by running the
// recipe, whatever the size of the models.

import { memorySource } from "../bytes/memory.ts";
import { fail, quote } from "../errors.ts";
import { type Checkpoint, openCheckpoint, type TensorInfo } from "../tensor/checkpoint.ts";
import { decoders } from "../tensor/decode.ts";
import { parseHeader } from "../tensor/header.ts";
import { layoutShards } from "../tensor/shards.ts";
import { type Mount, MountTable, type OpenMounted } from "./mounts.ts";

/** Elements of a tensor that is looked at: 16 MiB a model in f32. */
export const maxElements = 4 << 20;

const weightsName = "model.safetensors";

/** What can be looked at in a model: matrices of floats that are not too large. */
export async function matricesOf(mount: Mount, open: OpenMounted): Promise<TensorInfo[]> {
  const checkpoint = await openMount(mount, open);
  return [...checkpoint.tensors.values()].filter(
    ({ shape, count, dtype }) => shape.length === 2 && count <= maxElements && ["F32", "BF16", "F16"].includes(dtype),
  );
}

function openMount(mount: Mount, open: OpenMounted): Promise<Checkpoint> {
  return openCheckpoint(mount.name, new MountTable([mount], open).folder(mount.name));
}

/** A mount with nothing but that tensor, and its values. */
export async function oneTensor(
  mount: Mount,
  name: string,
  open: OpenMounted,
): Promise<{ mount: Mount; values: Float32Array; shape: readonly number[] }> {
  const checkpoint = await openMount(mount, open);
  const tensor = checkpoint.tensors.get(name);
  if (!tensor) fail("tensor-missing", `Cannot look at ${quote(name)}: ${quote(mount.name)} does not have it`);
  const source = new MountTable([mount], open).open(`/${mount.name}/${checkpoint.files[tensor.file]!.name}`);
  const bytes = new Uint8Array(tensor.end - tensor.start);
  try {
    await source.read(tensor.start, bytes);
  } finally {
    await source.close();
  }
  const { dtype, shape } = tensor;
  const [file] = layoutShards([{ name, dtype, shape }], { shardBytes: Number.MAX_SAFE_INTEGER });
  const blob = new Blob([file!.header as Uint8Array<ArrayBuffer>, bytes]);
  const one: Mount = { name: mount.name, files: new Map([[weightsName, { kind: "blob", blob, modified: 0 }]]) };
  return { mount: one, values: decode(bytes, dtype, tensor.count), shape };
}

function decode(bytes: Uint8Array, dtype: TensorInfo["dtype"], count: number): Float32Array {
  const read = decoders[dtype]!;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) values[i] = read(view, i);
  return values;
}

/** The only tensor of an output of one. */
export async function onlyTensor(files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>): Promise<Float32Array> {
  const bytes = files.get(weightsName)!;
  const header = await parseHeader(memorySource(weightsName, bytes));
  const [tensor] = header.tensors.values();
  return decode(
    bytes.subarray(tensor!.start, tensor!.end),
    tensor!.dtype,
    (tensor!.end - tensor!.start) / (tensor!.dtype === "F32" ? 4 : 2),
  );
}

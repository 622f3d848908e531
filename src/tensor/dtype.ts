// The dtypes of safetensors 0.8 and what Braid can do with each.

/** Bits per element, by safetensors name. */
// biome-ignore format: a table, by width.
export const dtypeBits = {
  BOOL: 8, F4: 4, F6_E2M3: 6, F6_E3M2: 6, U8: 8, I8: 8,
  F8_E5M2: 8, F8_E4M3: 8, F8_E8M0: 8, F8_E4M3FNUZ: 8, F8_E5M2FNUZ: 8,
  I16: 16, U16: 16, F16: 16, BF16: 16,
  I32: 32, U32: 32, F32: 32,
  C64: 64, F64: 64, I64: 64, U64: 64,
} as const;

export type Dtype = keyof typeof dtypeBits;

/** The dtypes that the kernels decode and encode. */
export const floatDtypes = ["F32", "BF16", "F16", "F64", "F8_E4M3", "F8_E5M2"] as const;
export type FloatDtype = (typeof floatDtypes)[number];

export function isDtype(name: string): name is Dtype {
  return Object.hasOwn(dtypeBits, name);
}

export function isFloat(dtype: Dtype): dtype is FloatDtype {
  return (floatDtypes as readonly string[]).includes(dtype);
}

/** Bytes per element of a dtype whose elements fill whole bytes. */
export function byteWidth(dtype: Dtype): number {
  return dtypeBits[dtype] / 8;
}

/** PyTorch's names, as `dtype` and `out_dtype` of a recipe and `dtype` of config.json spell them. */
export const torchNames = {
  F32: "float32",
  BF16: "bfloat16",
  F16: "float16",
  F64: "float64",
  F8_E4M3: "float8_e4m3fn",
  F8_E5M2: "float8_e5m2",
} as const;

/** The float dtype of a PyTorch name that the kernels know. */
export function dtypeNamed(name: string): FloatDtype | null {
  return floatDtypes.find((d) => torchNames[d] === name) ?? null;
}

const isF8 = (dtype: FloatDtype): boolean => dtype === "F8_E4M3" || dtype === "F8_E5M2";

/**
 * The result of torch.promote_types on two float dtypes: equal, or the wider; float16 with bfloat16 is float32. fp8, which
 * torch does not promote, gives way to the other, and its two formats to bfloat16.
 */
export function promote(a: FloatDtype, b: FloatDtype): FloatDtype {
  if (a === b) return a;
  if (a === "F64" || b === "F64") return "F64";
  if (isF8(a)) return isF8(b) ? "BF16" : b;
  return isF8(b) ? a : "F32";
}

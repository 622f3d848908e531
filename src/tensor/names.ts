// Tensor names: what they may hold and how they compare.

/** Bytes of UTF-8. */
export const maxNameBytes = 1024;

const encoder = new TextEncoder();
/** Control characters, and those that turn the direction of text, so that a name could read as another. */
const forbidden = /[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;

/** What is wrong with a name, or null. */
export function nameFault(name: string): string | null {
  // A UTF-16 unit is at most three bytes of UTF-8.
  if (name.length * 3 > maxNameBytes) {
    const length = encoder.encode(name).length;
    if (length > maxNameBytes) return `the name has ${length} bytes, the limit is ${maxNameBytes}`;
  }
  const bad = forbidden.exec(name)?.[0];
  if (bad === undefined) return null;
  return `the name holds U+${bad.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}, a control or bidirectional character`;
}

/** Orders UTF-16 units as their code points order: surrogates (astral characters) above everything else. */
const rank = (unit: number): number => (unit < 0xd800 ? unit : unit > 0xdfff ? unit - 0x800 : unit + 0x2000);

/** By code point, which is the order of UTF-8 bytes and of Rust's strings; `<` on strings differs above U+FFFF. */
export function compareNames(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

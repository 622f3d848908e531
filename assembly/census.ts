// Everything that an analysis wants to know of the deltas of several models at once: sums, counts, histograms of their bits. A
// block of 4,096 elements is taken in chunks, whose deltas lie in the first cache as f32 and are gone through once for each
// statistic: all of them in one loop would need more registers than there are.

import { addCoded, addTogether, codes, mostCoded, spendCodes } from "./census-codes";
import { bump, countAll, countBits, raise } from "./census-counts";
import { blockElements, Census, chunkBytes, chunkElements, sumsOf, tilesOf } from "./census-state";
import { addOwn, addPairs, addTriple, fold } from "./census-sums";
import { copyTile, isModest, largestOf, subtractTile, widenTile } from "./census-tiles";
import { No, Yes } from "./pairs";

/** A chunk of `count` elements in the tiles, padded with zeros to eight. */
function chunk(c: Census, count: usize): void {
  const models = <usize>c.models;
  const padded = (count + 7) & ~7;
  const byteLength = padded << 2;
  const base = tilesOf(c);
  const deltas = base + chunkBytes;
  const lanes = <usize>c.scratch;
  addOwn(lanes, lanes + 64, base, byteLength);
  const together = lanes + 128;
  if (models == 1) addCoded<No, No, No>(together, c.tops, deltas, byteLength);
  else if (models == 2) addCoded<Yes, No, No>(together, c.tops, deltas, byteLength);
  else if (models == 3) addCoded<Yes, Yes, No>(together, c.tops, deltas, byteLength);
  else if (models == 4) addCoded<Yes, Yes, Yes>(together, c.tops, deltas, byteLength);
  else addTogether(together, c.patterns, deltas, models, byteLength);
  // The padding is where nobody goes anywhere; it stands in the lanes of the last elements.
  const still = models <= mostCoded ? codes : <usize>c.patterns;
  for (let i = count; i < padded; i++) bump(still + ((i & 3) << 2), -1);
  for (let m: usize = 0; m < models; m++) {
    const x = deltas + m * chunkBytes;
    countBits(<usize>c.bins + (m << 19), x, count << 2);
  }
  if (models == 3) addTriple(lanes + 192, deltas, byteLength);
  else addPairs(lanes + 192, deltas, models, byteLength);
  if (models > mostCoded) countAll(c, deltas, byteLength);
}

function beginBlock(c: Census): void {
  memory.fill(c.scratch, 0, sumsOf(c.models) << 6);
}

function endBlock(c: Census): void {
  const sums = sumsOf(c.models);
  for (let i: usize = 0; i < sums; i++) store<f64>(<usize>c.out + (i << 3), fold(<usize>c.scratch + (i << 6)));
  c.out += <u32>(sums << 3);
}

export function census_f32(state: usize, base: usize, deltas: usize, stride: usize, count: usize): void {
  const c = changetype<Census>(state);
  const models = <usize>c.models;
  beginBlock(c);
  for (let done: usize = 0; done < count; done += chunkElements) {
    const n = min(chunkElements, count - done);
    let tile = tilesOf(c);
    copyTile(tile, base + (done << 2), n);
    for (let m: usize = 0; m < models; m++) {
      tile += chunkBytes;
      copyTile(tile, deltas + ((m * stride + done) << 2), n);
      raise(<usize>c.counts + 12 * m + 8, largestOf(tile, (n + 7) & ~7));
    }
    chunk(c, n);
  }
  endBlock(c);
  if (models <= mostCoded) spendCodes(c);
}

export function survey_census_bf16(state: usize, base: usize, inputs: usize, count: usize): usize {
  const c = changetype<Census>(state);
  const models = <usize>c.models;
  let done: usize = 0;
  while (done < count) {
    const elements = min(blockElements, count - done);
    let modest = isModest(base + (done << 1), elements);
    for (let m: usize = 0; m < models && modest; m++) {
      modest = isModest(<usize>load<u32>(inputs + (m << 2)) + (done << 1), elements);
    }
    if (!modest) break;
    beginBlock(c);
    for (const end = done + elements; done < end; ) {
      const n = min(chunkElements, end - done);
      const from = base + (done << 1);
      let tile = tilesOf(c);
      widenTile(tile, from, n);
      for (let m: usize = 0; m < models; m++) {
        tile += chunkBytes;
        const most = subtractTile(tile, <usize>load<u32>(inputs + (m << 2)) + (done << 1), from, n);
        raise(<usize>c.counts + 12 * m + 8, most);
      }
      chunk(c, n);
      done += n;
    }
    endBlock(c);
  }
  if (models <= mostCoded) spendCodes(c);
  return done;
}

// The pieces of a SentencePiece model file. It is a protobuf (sentencepiece_model.proto of google/sentencepiece): field 1, once for
// each piece, is a message of 1: the text, 2: its score as a float, 3: its type. All other fields are passed over.

export interface Piece {
  readonly text: string;
  readonly score: number;
  /** 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. */
  readonly type: number;
}

/** @throws RangeError or TypeError that says what is wrong with the bytes, for the caller to name the file. */
export function readPieces(bytes: Uint8Array, maxPieces: number): Piece[] {
  const pieces: Piece[] = [];
  const text = new TextDecoder("utf-8", { fatal: true });
  eachField(bytes, 0, bytes.length, (field, wire, start, end) => {
    if (field !== 1) return;
    if (wire !== 2) throw new RangeError(`piece ${pieces.length} is no message`);
    if (pieces.length === maxPieces) throw new RangeError(`it has more than ${maxPieces} pieces`);
    let piece = "";
    let score = 0;
    let type = 1;
    eachField(bytes, start, end, (inner, innerWire, from, to) => {
      if (inner === 1 && innerWire === 2) piece = text.decode(bytes.subarray(from, to));
      else if (inner === 2 && innerWire === 5)
        score = new DataView(bytes.buffer, bytes.byteOffset + from, 4).getFloat32(0, true);
      else if (inner === 3 && innerWire === 0) type = readVarint(bytes, from, to).value;
    });
    pieces.push({ text: piece, score, type });
  });
  return pieces;
}

/** Calls `use` with every field of a message in [start, end): its number, wire type and the bytes of its value. */
function eachField(
  bytes: Uint8Array,
  start: number,
  end: number,
  use: (field: number, wire: number, start: number, end: number) => void,
): void {
  for (let at = start; at < end; ) {
    const key = readVarint(bytes, at, end);
    const wire = key.value % 8;
    const field = Math.floor(key.value / 8);
    if (field === 0) throw new RangeError(`field 0 at byte ${at}`);
    let from = key.next;
    let to: number;
    if (wire === 0) to = readVarint(bytes, from, end).next;
    else if (wire === 1) to = from + 8;
    else if (wire === 5) to = from + 4;
    else if (wire === 2) {
      const length = readVarint(bytes, from, end);
      from = length.next;
      to = from + length.value;
    } else throw new RangeError(`wire type ${wire} at byte ${at}`);
    if (to > end) throw new RangeError(`a field at byte ${at} ends at byte ${to}, behind the ${end} that there are`);
    use(field, wire, from, to);
    at = to;
  }
}

/** A number of at most ten bytes, seven bits in each. Above 2⁵³ only its length is exact, and nothing here needs more. */
function readVarint(bytes: Uint8Array, start: number, end: number): { value: number; next: number } {
  let value = 0;
  for (let i = 0; i < 10; i++) {
    const byte = start + i < end ? bytes[start + i] : undefined;
    if (byte === undefined) throw new RangeError(`a number at byte ${start} does not end`);
    value += (byte & 127) * 2 ** (7 * i);
    if (byte < 128) return { value, next: start + i + 1 };
  }
  throw new RangeError(`a number at byte ${start} has more than ten bytes`);
}

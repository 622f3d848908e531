// A JSON reader that sees what JSON.parse hides: names given twice, `1.0` against `1`, integers above 2^53 − 1. It takes
// the grammar of RFC 8259 as serde_json (the reference reader's parser) does, in one pass, by functions that the reader of
// each format calls in its own order, so nothing is built that is not wanted.

/** Where a reader is in its text. `fault` says what is wrong there; it never returns. */
export interface Scanner {
  readonly text: string;
  at: number;
  depth: number;
  readonly fault: (what: string) => never;
  /** Python's json writes and reads NaN and Infinity; safetensors headers may not. */
  readonly pythonNumbers: boolean;
}

/** serde_json's limit on containers inside each other. */
export const maxDepth = 127;
/** In a header, numbers that nobody uses are refused from here on: readers disagree on what overflows a double. */
const maxNumber = 1e300;

const quoteMark = 0x22,
  backslash = 0x5c,
  comma = 0x2c,
  colon = 0x3a,
  zero = 0x30,
  nine = 0x39;
const brace = 0x7b,
  closingBrace = 0x7d,
  bracket = 0x5b,
  closingBracket = 0x5d;

export function createScanner(
  text: string,
  fault: (what: string, at: number) => never,
  pythonNumbers = false,
): Scanner {
  const s: Scanner = { text, at: 0, depth: 0, fault: (what) => fault(what, s.at), pythonNumbers };
  return s;
}

export function skipSpace(s: Scanner): void {
  for (;;) {
    const c = s.text.charCodeAt(s.at);
    if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) return;
    s.at++;
  }
}

/** The next character that is not space, as a code (NaN at the end), without taking it. */
export function peek(s: Scanner): number {
  skipSpace(s);
  return s.text.charCodeAt(s.at);
}

function found(s: Scanner): string {
  const c = s.text.codePointAt(s.at);
  if (c === undefined) return "the end";
  return c > 0x20 && c < 0x7f ? `'${String.fromCodePoint(c)}'` : `U+${c.toString(16).toUpperCase().padStart(4, "0")}`;
}

function take(s: Scanner, wanted: number, what: string): void {
  if (peek(s) !== wanted) s.fault(`found ${found(s)}, expected ${what}`);
  s.at++;
}

const escapes: Record<string, string> = { '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

function readHex4(s: Scanner): number {
  const digits = s.text.slice(s.at, s.at + 4);
  if (!/^[0-9a-fA-F]{4}$/.test(digits)) s.fault("\\u takes four hexadecimal digits");
  s.at += 4;
  return Number.parseInt(digits, 16);
}

function readEscape(s: Scanner): string {
  const letter = s.text.charAt(s.at++);
  if (letter !== "u")
    return Object.hasOwn(escapes, letter) ? escapes[letter]! : s.fault("a string has an unknown escape");
  const first = readHex4(s);
  if (first < 0xd800 || first > 0xdfff) return String.fromCharCode(first);
  if (first > 0xdbff || s.text.slice(s.at, s.at + 2) !== "\\u") s.fault("a string has half a surrogate pair");
  s.at += 2;
  const second = readHex4(s);
  if (second < 0xdc00 || second > 0xdfff) s.fault("a string has half a surrogate pair");
  return String.fromCharCode(first, second);
}

export function readString(s: Scanner, what = "a string"): string {
  take(s, quoteMark, what);
  let from = s.at;
  let head = "";
  for (;;) {
    const c = s.text.charCodeAt(s.at);
    if (c === quoteMark) {
      const tail = s.text.slice(from, s.at++);
      return head === "" ? tail : head + tail;
    }
    if (c === backslash) {
      head += s.text.slice(from, s.at++);
      head += readEscape(s);
      from = s.at;
    } else if (c >= 0x20) {
      s.at++;
    } else {
      // NaN, the end of the text, lands here too.
      s.fault(Number.isNaN(c) ? "a string has no end" : `a string holds the control character ${found(s)}`);
    }
  }
}

/** A whole number from 0 to 2^53 − 1, written with digits only. */
export function readInteger(s: Scanner, what: string): number {
  const first = peek(s);
  if (!(first >= zero && first <= nine)) s.fault(`found ${found(s)}, expected ${what}`);
  let n = 0;
  const from = s.at;
  for (;;) {
    const c = s.text.charCodeAt(s.at);
    if (!(c >= zero && c <= nine)) {
      if (c === 0x2e || c === 0x65 || c === 0x45) s.fault(`found a fraction or exponent, expected ${what}`);
      return n;
    }
    if (s.at > from && first === zero) s.fault(`found a number that starts with 0, expected ${what}`);
    n = n * 10 + (c - zero);
    if (n > Number.MAX_SAFE_INTEGER) s.fault(`a number is above ${Number.MAX_SAFE_INTEGER}, the limit`);
    s.at++;
  }
}

function enter(s: Scanner): void {
  s.at++;
  if (++s.depth > maxDepth) s.fault(`containers lie more than ${maxDepth} deep`);
}

/** Calls `onMember` with each name; it must read the value. A name that comes twice goes to `onDuplicate`. */
export function readObject(
  s: Scanner,
  onMember: (name: string) => void,
  what = "an object",
  onDuplicate: (name: string) => void = (name) => s.fault(`the name ${JSON.stringify(name).slice(0, 200)} comes twice`),
): void {
  if (peek(s) !== brace) s.fault(`found ${found(s)}, expected ${what}`);
  enter(s);
  // Most objects are tensors with three members; a set for each would take a third of the time.
  const few: string[] = [];
  let seen: Set<string> | null = null;
  for (let more = peek(s) !== closingBrace; more; ) {
    const name = readString(s, "a name in double quotes");
    if (seen === null ? few.includes(name) : seen.has(name)) onDuplicate(name);
    else if (seen !== null) seen.add(name);
    else if (few.push(name) === 8) seen = new Set(few);
    take(s, colon, "':'");
    onMember(name);
    more = peek(s) === comma;
    if (more) s.at++;
  }
  take(s, closingBrace, "',' or '}'");
  s.depth--;
}

export function readArray(s: Scanner, onItem: (index: number) => void, what = "an array"): void {
  if (peek(s) !== bracket) s.fault(`found ${found(s)}, expected ${what}`);
  enter(s);
  let index = 0;
  for (let more = peek(s) !== closingBracket; more; ) {
    onItem(index++);
    more = peek(s) === comma;
    if (more) s.at++;
  }
  take(s, closingBracket, "',' or ']'");
  s.depth--;
}

const numberPattern = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const pythonPattern = /-?Infinity|NaN/y;
const words = [
  ["true", true],
  ["false", false],
  ["null", null],
] as const;

/** true, false, null, or a number with the text it had. */
export function readPlain(s: Scanner): { value: number | boolean | null; text: string } {
  const first = peek(s);
  for (const [word, value] of words) {
    if (first === word.charCodeAt(0) && s.text.startsWith(word, s.at)) {
      s.at += word.length;
      return { value, text: word };
    }
  }
  for (const pattern of s.pythonNumbers ? [pythonPattern, numberPattern] : [numberPattern]) {
    pattern.lastIndex = s.at;
    const text = pattern.exec(s.text)?.[0];
    if (text === undefined) continue;
    const value = Number(text);
    if (!s.pythonNumbers && !(Math.abs(value) < maxNumber)) s.fault(`a number is not below ${maxNumber}, the limit`);
    s.at += text.length;
    return { value, text };
  }
  return s.fault(`found ${found(s)}, expected a value`);
}

/** Reads any value and forgets it; what it refuses, it refuses. */
export function skipValue(s: Scanner): void {
  const c = peek(s);
  if (c === brace) readObject(s, () => skipValue(s));
  else if (c === bracket) readArray(s, () => skipValue(s));
  else if (c === quoteMark) readString(s);
  else readPlain(s);
}

/** Nothing but space may follow. */
export function readEnd(s: Scanner): void {
  if (!Number.isNaN(peek(s))) s.fault(`found ${found(s)} after the end of the JSON text`);
}

// Room for text where there is no browser to measure it, and names cut to the room there is.

import { visibleText } from "./markup.ts";

/** Characters of which a label can be made; a name may be a thousand times as long. */
const longest = 200;

/** Widths in em of a common sans-serif, by class: those of DejaVu Sans, which is wider than most, so that labels end before their neighbours begin. */
function characterWidth(c: string): number {
  if (/[ijlftrIJ.,:;'|!()[\]\\/ -]/.test(c)) return 0.4;
  if (/[mMW%@…]/.test(c)) return 1;
  if (/[wA-Z<>=+~×]/.test(c)) return 0.8;
  if (/[\u0020-\u024f]/.test(c)) return 0.64;
  if (/[\u0370-\u058f\u2010-\u22ff]/.test(c)) return 0.78;
  return 1;
}

/** About how wide text is, in pixels of a chart. */
export function textWidth(text: string, size = 11): number {
  let sum = 0;
  for (const c of visibleText(text)) sum += characterWidth(c);
  return sum * size;
}

/** Cut in the middle, where names of tensors and folders differ least, to about `width` pixels. */
export function shorten(text: string, width: number, size = 11): string {
  if (text.length <= longest && textWidth(text, size) <= width) return text;
  const all = [...visibleText(text)];
  const characters = all.length <= longest ? all : [...all.slice(0, longest / 2), ...all.slice(-longest / 2)];
  let [head, tail] = [Math.ceil(characters.length / 2), Math.floor(characters.length / 2)];
  const cut = () => `${characters.slice(0, head).join("")}…${characters.slice(characters.length - tail).join("")}`;
  while (head + tail > 2 && textWidth(cut(), size) > width) {
    if (head > tail) head--;
    else tail--;
  }
  return cut();
}

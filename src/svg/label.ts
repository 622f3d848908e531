// Room for text where there is no browser to measure it, and names cut to the room there is.

/** Characters of which a label can be made; a name may be a thousand times as long. */
const longest = 200;

/** Widths in em of a common sans-serif, by class; on the wide side, so that labels end before their neighbours begin. */
function characterWidth(c: string): number {
  if (/[iljtfI.,:;'|!()[\] ]/.test(c)) return 0.34;
  if (/[mwMW%@]/.test(c)) return 0.9;
  if (/[A-Z]/.test(c)) return 0.7;
  if (/[\u0020-\u024f\u0370-\u04ff\u2010-\u22ff]/.test(c)) return 0.58;
  return 1;
}

/** About how wide text is, in pixels of a chart. */
export function textWidth(text: string, size = 11): number {
  let sum = 0;
  for (const c of text) sum += characterWidth(c);
  return sum * size;
}

/** Cut in the middle, where names of tensors and folders differ least, to about `width` pixels. */
export function shorten(text: string, width: number, size = 11): string {
  if (text.length <= longest && textWidth(text, size) <= width) return text;
  const all = [...text];
  const characters = all.length <= longest ? all : [...all.slice(0, longest / 2), ...all.slice(-longest / 2)];
  let [head, tail] = [Math.ceil(characters.length / 2), Math.floor(characters.length / 2)];
  const cut = () => `${characters.slice(0, head).join("")}…${characters.slice(characters.length - tail).join("")}`;
  while (head + tail > 2 && textWidth(cut(), size) > width) {
    if (head > tail) head--;
    else tail--;
  }
  return cut();
}

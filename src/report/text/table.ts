import { visible } from './control-characters.js';

/** Columns of a terminal that a text takes: letters of East Asia take two, accents none. */
export function width(text: string): number {
  // Nearly all is plain.
  if (/^[ -~]*$/.test(text)) return text.length;
  let columns = 0;
  for (const character of text) {
    if (WIDE.test(character)) columns += 2;
    else if (!/\p{M}/u.test(character)) columns += 1;
  }
  return columns;
}

// Unicode's property East_Asian_Width is not known to regular expressions.
const WIDE =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}\u3000-\u303f\uff01-\uff60\uffe0-\uffe6]/u;

/** Rows under a head, aligned, without lines. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, ...rows.map((row) => row.map(cell))];
  const widths = head.map(() => 0);
  for (const line of lines)
    for (const [at, text] of line.entries()) widths[at] = Math.max(widths[at] ?? 0, width(text));
  const padded = (text: string, at: number) => text + ' '.repeat((widths[at] ?? 0) - width(text));
  return lines.map((line) => `${line.map(padded).join('  ').trimEnd()}\n`).join('');
}

/** Spaces at the ends of a name would not be seen. */
function cell(text: string): string {
  return visible(text).replaceAll(/^ | $/g, String.raw`\x20`);
}

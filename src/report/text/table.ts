import { escapeControlCharacters } from './control-characters.js';

/** The width of a text in a terminal, in columns: East Asian letters take two columns, accents none. */
export function width(text: string): number {
  // Fast path: most text is plain ASCII.
  if (/^[ -~]*$/.test(text)) return text.length;
  let columns = 0;
  for (const character of text) {
    if (WIDE.test(character)) columns += 2;
    else if (!/\p{M}/u.test(character)) columns += 1;
  }
  return columns;
}

// Regular expressions do not know Unicode's property East_Asian_Width.
const WIDE =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}\u3000-\u303f\uff01-\uff60\uffe0-\uffe6]/u;

/** A head and rows as aligned columns. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, ...rows.map((row) => row.map(cell))];
  const widths = head.map(() => 0);
  for (const line of lines)
    for (const [at, text] of line.entries()) widths[at] = Math.max(widths[at] ?? 0, width(text));
  const padded = (text: string, at: number) => text + ' '.repeat((widths[at] ?? 0) - width(text));
  return lines.map((line) => `${line.map(padded).join('  ').trimEnd()}\n`).join('');
}

/** Spaces at the start or end of a name become escapes, since nobody would see them. */
function cell(text: string): string {
  return escapeControlCharacters(text).replaceAll(/^ | $/g, String.raw`\x20`);
}

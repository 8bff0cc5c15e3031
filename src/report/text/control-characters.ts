// What does not show, moves a terminal's cursor, changes the direction of writing, or is not known to a terminal; and spaces
// other than the one that everybody knows.
const HIDDEN = String.raw`[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]`;
const UNSAFE = new RegExp(String.raw`${HIDDEN}|(?! )\p{Zs}|\\(?=x[0-9a-f]{2}|u[0-9a-f{])`, 'gu');
const HIDDEN_IN_JSON = new RegExp(HIDDEN, 'gu');
// Scripts that have letters of the same shape as Latin ones.
const TWINS = /[\p{Script=Cyrillic}\p{Script=Greek}\p{Script=Armenian}\p{Script=Cherokee}]/gu;

/**
 * Text that came from a cache, for a terminal. What would harm the terminal, or make two names look alike that are not, is
 * shown as an escape, `\x1b`: control characters, what is invisible, spaces of other kinds, accents that are characters
 * of their own, and letters of other scripts in a word of Latin ones.
 */
export function visible(text: string): string {
  // Nearly all is plain.
  if (/^[ !-[\]-~]*$/.test(text)) return text;
  const shown = text.replaceAll(UNSAFE, (character) => (character === '\\' ? '\\\\' : escaped(character)));
  const composed = shown === shown.normalize('NFC') ? shown : shown.replaceAll(/\p{M}/gu, escaped);
  return composed.replaceAll(/[\p{L}\p{N}\p{M}]+/gu, (word) =>
    /\p{Script=Latin}/u.test(word) ? word.replaceAll(TWINS, escaped) : word,
  );
}

/** `\x9b`, `\u202e` or `\u{e0041}`. */
function escaped(character: string): string {
  const code = (character.codePointAt(0) ?? 0).toString(16);
  if (code.length <= 2) return `\\x${code.padStart(2, '0')}`;
  return code.length <= 4 ? `\\u${code.padStart(4, '0')}` : `\\u{${code}}`;
}

/** Lines for people. */
export function printed(lines: readonly string[]): string {
  return lines.map((line) => `${visible(line)}\n`).join('');
}

/** A value as a line of JSON for programs, in which nothing is hidden from people who look at it. */
export function jsonLine(value: unknown): string {
  return `${JSON.stringify(value).replaceAll(HIDDEN_IN_JSON, jsonEscape)}\n`;
}

/** As UTF-16 units, since JSON has no other escapes. */
function jsonEscape(character: string): string {
  return Array.from({ length: character.length }, (_, at) => {
    return `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`;
  }).join('');
}

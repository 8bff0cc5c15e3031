// Control, format, surrogate, private-use and unassigned characters, line separators, and characters without a glyph: they
// do not show, move a terminal's cursor, or change the direction of writing.
const HIDDEN = String.raw`[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]`;
const UNSAFE = new RegExp(String.raw`${HIDDEN}|(?! )\p{Zs}|\\(?=x[0-9a-f]{2}|u[0-9a-f{])`, 'gu');
const HIDDEN_IN_JSON = new RegExp(HIDDEN, 'gu');
// Scripts with letters that look like Latin letters.
const TWINS = /[\p{Script=Cyrillic}\p{Script=Greek}\p{Script=Armenian}\p{Script=Cherokee}]/gu;

/**
 * Text from a cache, safe for a terminal. Characters that could harm the terminal, or make two different names look alike,
 * become escapes such as `\x1b`: control characters, invisible characters, unusual spaces, separate accents, and letters
 * of other scripts in a word of Latin letters.
 */
export function escapeControlCharacters(text: string): string {
  // Fast path: most text is plain ASCII.
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

/** Lines of text, safe for a terminal, each with a newline at its end. */
export function escapedLines(lines: readonly string[]): string {
  return lines.map((line) => `${escapeControlCharacters(line)}\n`).join('');
}

/** A value as one line of JSON, with escapes for characters that a terminal does not show. */
export function jsonLine(value: unknown): string {
  return `${JSON.stringify(value).replaceAll(HIDDEN_IN_JSON, jsonEscape)}\n`;
}

/** As UTF-16 units, since JSON has no other escapes. */
function jsonEscape(character: string): string {
  return Array.from({ length: character.length }, (_, at) => {
    return `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`;
  }).join('');
}

/**
 * Text that came from a cache, for a terminal: what would move its cursor, change its colours or turn the direction of
 * writing is shown as an escape, `\x1b`.
 */
export function visible(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Bidi_Control}]/gu, (character) => {
    const code = character.charCodeAt(0).toString(16);
    return code.length > 2 ? `\\u${code.padStart(4, '0')}` : `\\x${code.padStart(2, '0')}`;
  });
}

/** Lines for people. */
export function printed(lines: readonly string[]): string {
  return lines.map((line) => `${visible(line)}\n`).join('');
}

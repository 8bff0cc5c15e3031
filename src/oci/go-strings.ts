import { isAscii, isUtf8 } from 'node:buffer';

const REPLACEMENT = '\ufffd';
const BASE64 = /^[A-Za-z0-9+/]*$/;

/**
 * The text of a JSON string, as Go reads it (encoding/json, unquoteBytes): a byte that is not UTF-8, and a surrogate without
 * its other half, become U+FFFD.
 *
 * @param raw - the bytes between the quotes as Latin-1 characters, with valid escapes
 */
export function unquote(raw: string): string {
  const text = decodeUtf8(Buffer.from(raw, 'latin1'));
  if (!text.includes('\\')) return text;
  return (JSON.parse(`"${text}"`) as string).replace(/\p{Surrogate}/gu, REPLACEMENT);
}

/** Decodes as Go's utf8.DecodeRune: each byte of invalid UTF-8 becomes one U+FFFD. */
export function decodeUtf8(bytes: Buffer): string {
  if (isAscii(bytes) || isUtf8(bytes)) return bytes.toString();
  let text = '';
  for (let at = 0; at < bytes.length;) {
    const lead = bytes[at] ?? 0;
    const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    const rune = bytes.subarray(at, at + length);
    const isRune = rune.length === length && isUtf8(rune);
    text += isRune ? rune.toString() : REPLACEMENT;
    at += isRune ? length : 1;
  }
  return text;
}

/** A name folded to one case, as Go compares field names with keys (bytes.EqualFold). */
export function folded(name: string): string {
  // The long s is the only lower-case letter outside ASCII with a capital in ASCII.
  return name.toLowerCase().replaceAll('\u017f', 's');
}

/**
 * Decodes base64 as Go's StdEncoding does: with padding; line ends are skipped, and other characters are invalid.
 *
 * @returns undefined for invalid base64
 */
export function decodeBase64(encoded: string): Buffer | undefined {
  const text = encoded.replaceAll(/[\r\n]/g, '');
  const content = text.endsWith('==') ? text.slice(0, -2) : text.endsWith('=') ? text.slice(0, -1) : text;
  return text.length % 4 === 0 && BASE64.test(content) ? Buffer.from(content, 'base64') : undefined;
}

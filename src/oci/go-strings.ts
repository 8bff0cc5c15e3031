import { isAscii, isUtf8 } from 'node:buffer';

const REPLACEMENT = '\ufffd';
const BASE64 = /^[A-Za-z0-9+/]*$/;

/**
 * What stands between the quotes of a JSON string, as Go reads it (encoding/json, unquoteBytes): each byte that is no
 * UTF-8, and each surrogate without its other half, becomes U+FFFD.
 *
 * @param raw - each byte a character (Latin-1), its escapes sound
 */
export function unquote(raw: string): string {
  const text = decodeUtf8(Buffer.from(raw, 'latin1'));
  if (!text.includes('\\')) return text;
  return (JSON.parse(`"${text}"`) as string).replace(/\p{Surrogate}/gu, REPLACEMENT);
}

/** Go's utf8.DecodeRune: of what is no UTF-8, each byte counts for itself. */
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

/** A name without regard to case, as Go compares field names with keys (bytes.EqualFold). */
export function folded(name: string): string {
  // The long s is the one character whose capital is ASCII and whose small letter is not.
  return name.toLowerCase().replaceAll('\u017f', 's');
}

/**
 * Base64 as Go's StdEncoding reads it: padded, line ends passed over, and nothing else that does not belong there.
 *
 * @returns undefined for a text that is none
 */
export function decodeBase64(encoded: string): Buffer | undefined {
  const text = encoded.replaceAll(/[\r\n]/g, '');
  const content = text.endsWith('==') ? text.slice(0, -2) : text.endsWith('=') ? text.slice(0, -1) : text;
  return text.length % 4 === 0 && BASE64.test(content) ? Buffer.from(content, 'base64') : undefined;
}

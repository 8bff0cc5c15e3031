import { decodeUtf8 } from './go-strings.js';

/**
 * The largest JSON document that is read, in bytes. BuildKit reads at most 1 MiB from folders and registries; a larger cache
 * must be read here to be slimmed.
 */
export const JSON_LIMIT = 64 * 1024 * 1024;

/**
 * JSON as Go's encoding/json writes it: without spaces, with escapes for HTML's special characters and JavaScript's line
 * separators. Keys keep their order.
 *
 * @param indent - as for MarshalIndent
 */
export function goJson(value: unknown, indent?: string): Buffer {
  const escaped = JSON.stringify(value, undefined, indent).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return Buffer.from(escaped);
}

/** A value that is kept as JSON text: unknown fields, and numbers that do not fit a double. */
export class JsonText {
  readonly #text: string;

  /** @param text - valid JSON as Latin-1 characters */
  constructor(text: string) {
    this.#text = text;
  }

  /** The JSON without spaces, as Latin-1 characters. */
  get text(): string {
    return compact(this.#text);
  }

  /** The value as JavaScript reads it; a large number becomes the nearest double. */
  toJSON(): unknown {
    return JSON.parse(decodeUtf8(Buffer.from(this.#text, 'latin1')));
  }
}

/** JSON without the spaces between its tokens. */
function compact(text: string): string {
  if (!/[ \t\n\r]/.test(text)) return text;
  let joined = '';
  let from = 0;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '"') at = stringEnd(text, at) - 1;
    else if (' \t\n\r'.includes(text[at] ?? '')) {
      joined += text.slice(from, at);
      from = at + 1;
    }
  }
  return joined + text.slice(from);
}

/** The offset after the string that starts at `start`. */
export function stringEnd(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at + 1;
}

/** Like `goJson`, for values that may contain `JsonText`. */
export function goJsonOf(value: unknown): Buffer {
  return Buffer.from(textOf(value), 'latin1');
}

function textOf(value: unknown): string {
  if (value instanceof JsonText) return value.text;
  if (Array.isArray(value)) return `[${value.map(textOf).join(',')}]`;
  if (typeof value !== 'object' || value === null) return goJson(value).toString('latin1');
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return `{${members.map(([key, member]) => `${textOf(key)}:${textOf(member)}`).join(',')}}`;
}

/** The entries of a map in the order in which Go writes them: by the bytes of the key. */
export function sortedKeys<T>(map: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(map).toSorted(([a], [b]) => compareText(a, b)));
}

/** Compares strings as Go does, by bytes. In practice digests, selectors and keys are ASCII, where code units agree. */
export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

import { decodeUtf8 } from './go-strings.js';

/**
 * The most of a JSON document that is ever held in memory, in bytes. BuildKit reads none over 1 MiB from folders and
 * registries; caches that outgrew that have to be read to be slimmed.
 */
export const JSON_LIMIT = 64 * 1024 * 1024;

/**
 * JSON as Go's encoding/json writes it: no spaces, and HTML's characters and JavaScript's line separators escaped.
 * Keys come in the order that the value has them.
 *
 * @param indent - as MarshalIndent takes it
 */
export function goJson(value: unknown, indent?: string): Buffer {
  const escaped = JSON.stringify(value, undefined, indent).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return Buffer.from(escaped);
}

/** A value that is kept as the JSON that it is: fields that are not understood, and numbers that no double holds. */
export class JsonText {
  readonly #text: string;

  /** @param text - sound JSON, each byte a character (Latin-1) */
  constructor(text: string) {
    this.#text = text;
  }

  /** Without spaces. Each byte is a character, as in what it was made from. */
  get text(): string {
    return compact(this.#text);
  }

  /** As JavaScript reads it: of a large number that is the nearest double. */
  toJSON(): unknown {
    return JSON.parse(decodeUtf8(Buffer.from(this.#text, 'latin1')));
  }
}

/** JSON without the spaces between its tokens. */
function compact(text: string): string {
  if (!/[ \t\n\r]/.test(text)) return text;
  let packed = '';
  let from = 0;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '"') at = stringEnd(text, at) - 1;
    else if (' \t\n\r'.includes(text[at] ?? '')) {
      packed += text.slice(from, at);
      from = at + 1;
    }
  }
  return packed + text.slice(from);
}

/** The place behind a string that begins here. */
export function stringEnd(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at + 1;
}

/** As `goJson`, for values that may have `JsonText` in them. */
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

/** The entries of a string map in the order in which Go writes them: by code unit of the UTF-8 key. */
export function sortedKeys<T>(map: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(map).toSorted(([a], [b]) => compareText(a, b)));
}

/** Compares as Go compares strings, by bytes. Digests, selectors and keys are ASCII in practice, where code units agree. */
export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

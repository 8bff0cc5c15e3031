import * as v from 'valibot';
import { CacheError } from '../errors.js';
import { isDigest, type Digest } from './digest.js';

/**
 * The most of a JSON document that is ever held in memory, in bytes. BuildKit reads none over 1 MiB from folders and
 * registries; caches that outgrew that have to be read to be slimmed.
 */
export const JSON_LIMIT = 64 * 1024 * 1024;

/** A digest, whose grammar is checked before anything makes a path or an address of it. */
export const digestSchema = v.custom<Digest>(isDigest, 'not a digest');

/** A size or count: whole and not negative. */
export const sizeSchema = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

// Go's encoding/json (decode.go, maxNestingDepth) allows ten times as much. Real documents have ten levels at most.
const DEPTH_LIMIT = 1000;
/** How much of a wrong value a message shows. */
const FOUND_LIMIT = 200;

function isNestedDeeper(bytes: Uint8Array, limit: number): boolean {
  let depth = 0;
  let inText = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (inText) {
      if (byte === BACKSLASH) at++;
      else if (byte === QUOTE) inText = false;
    } else if (byte === QUOTE) inText = true;
    else if (byte === BRACKET || byte === BRACE) {
      depth++;
      if (depth > limit) return true;
    } else if (byte === BRACKET_END || byte === BRACE_END) depth--;
  }
  return false;
}

const [QUOTE, BACKSLASH, BRACKET, BRACKET_END, BRACE, BRACE_END] = Buffer.from('"\\[]{}');

/**
 * Reads JSON of an expected shape.
 *
 * @param where - the file or blob that it came from, for the message
 * @throws CacheError CORRUPT that names the field
 */
export function parseJson<TSchema extends v.GenericSchema>(
  schema: TSchema,
  bytes: Uint8Array,
  where: string,
): v.InferOutput<TSchema> {
  const text = new TextDecoder().decode(bytes);
  let value: unknown;
  if (isNestedDeeper(bytes, DEPTH_LIMIT)) {
    throw new CacheError('CORRUPT', `${where} is nested more than ${DEPTH_LIMIT} levels deep`);
  }
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const hint = text.trim() === '' ? 'the file is empty' : 'the file was probably cut short or overwritten';
    throw new CacheError('CORRUPT', `${where} is not JSON: ${(cause as Error).message}`, { hint, cause });
  }
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const field = v.getDotPath(issue) ?? 'the document';
  throw new CacheError('CORRUPT', `${where}: ${field}: ${faultOf(issue)}`);
}

/** A schema that has words of its own for what is wrong says more than the name of a type does. */
function faultOf({ message, expected, received }: v.BaseIssue<unknown>): string {
  const found = received.length > FOUND_LIMIT ? `${received.slice(0, FOUND_LIMIT)}…` : received;
  if (!message.startsWith('Invalid ')) return `${found} is ${message}`;
  return expected === null ? message : `expected ${expected} but found ${found}`;
}

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

/** The entries of a string map in the order in which Go writes them: by code unit of the UTF-8 key. */
export function sortedKeys<T>(map: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(map).toSorted(([a], [b]) => compareText(a, b)));
}

/** Compares as Go compares strings, by bytes. Digests, selectors and keys are ASCII in practice, where code units agree. */
export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

import { isTimestamp, ZERO_TIME } from '../../oci/go-time.js';
import { CacheError } from '../../errors.js';
import { decodeBase64 } from '../../oci/go-strings.js';

/** Fields of manifests and cacheconfigs that are whole numbers. */
const NUMBERS: ReadonlySet<string> = new Set(['schemaVersion', 'size', 'parent', 'layer', 'link']);
/** Fields of cacheconfigs that are times. */
const TIMES: ReadonlySet<string> = new Set(['createdAt', 'created']);

/** A document that Go reads, and whether it had to be corrected for that. */
interface Rectified<T> {
  readonly value: T;
  /** Why Go refuses the bytes as they are. */
  readonly fault: CacheError | undefined;
}

/**
 * Reads a document; one that Go refuses is read in the way that is clear all the same: without a byte order mark, with
 * numbers as numbers, with 24:00 as the next day's beginning, with no date in the place of one that there never was, and
 * without what the bytes of a blob tell better: a size that can be none, and a copy of them that is none.
 *
 * @throws CacheError CORRUPT when that is not enough
 */
export function readRectified<T>(bytes: Uint8Array, decode: (bytes: Uint8Array) => T): Rectified<T> {
  try {
    return { value: decode(bytes), fault: undefined };
  } catch (fault) {
    if (!(fault instanceof CacheError) || fault.code !== 'CORRUPT') throw fault;
    const other = rectified(bytes);
    if (other === undefined) throw fault;
    try {
      return { value: decode(other), fault };
    } catch {
      throw fault;
    }
  }
}

function rectified(bytes: Uint8Array): Buffer | undefined {
  try {
    // TextDecoder drops a byte order mark.
    const text = JSON.stringify(JSON.parse(new TextDecoder().decode(bytes)), rectifyField);
    return Buffer.from(text);
  } catch {
    return undefined;
  }
}

function rectifyField(key: string, value: unknown): unknown {
  // Bytes are looked at before anything is cut, and their size is put in then.
  if (key === 'size' && typeof value === 'number' && !isSize(value)) return 0;
  if (key === 'data' && typeof value === 'string' && decodeBase64(value) === undefined) return undefined;
  // Some languages write an empty map as an empty list.
  if (key === 'annotations' && Array.isArray(value) && value.length === 0) return {};
  // What no double holds would become another number.
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) throw new RangeError(`${key} is too large`);
  if (NUMBERS.has(key) && typeof value === 'string' && /^\d{1,15}$/.test(value)) return Number(value);
  if (TIMES.has(key) && typeof value === 'string' && !isTimestamp(value)) return certainTime(value) ?? ZERO_TIME;
  return value;
}

function isSize(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

/** The time that is meant by a text that Go does not take for one, where that is certain. */
function certainTime(text: string): string | undefined {
  const upper = text.toUpperCase();
  if (isTimestamp(upper)) return upper;
  const midnight = /^(\d{4}-\d{2}-\d{2})T24:00:00(?:\.0+)?(Z|[+-]\d{2}:\d{2})$/.exec(upper);
  const day = `${midnight?.[1]}T00:00:00Z`;
  if (midnight === null || !isTimestamp(day)) return undefined;
  const next = new Date(Date.parse(day) + 24 * 3_600_000).toISOString().slice(0, 10);
  return `${next}T00:00:00${midnight[2]}`;
}

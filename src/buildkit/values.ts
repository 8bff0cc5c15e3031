import { CacheError, type Side } from '../errors.js';
import { isDigest } from '../oci/digest.js';
import type { AttributeKind } from './attributes.js';

const TRUE = new Set(['1', 't', 'T', 'TRUE', 'true', 'True']);
const FALSE = new Set(['0', 'f', 'F', 'FALSE', 'false', 'False']);

/** A boolean as Go's strconv.ParseBool reads it; undefined when it is none. */
export function parseFlag(text: string): boolean | undefined {
  if (TRUE.has(text)) return true;
  return FALSE.has(text) ? false : undefined;
}

/** The levels that each compression takes: util/compression. The libraries' own default is 0 for zstd. */
const LEVELS: Readonly<Record<string, readonly [number, number]>> = { gzip: [0, 9], estargz: [0, 9], zstd: [0, 22] };
const COMPRESSIONS = ['uncompressed', 'gzip', 'estargz', 'zstd'];
// Go's time.ParseDuration, for positive times.
const DURATION = /^\+?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+)$/;

/** What is wrong with a value of each kind; undefined when nothing is. */
const FAULTS: Readonly<Record<AttributeKind, (value: string, compression: string) => string | undefined>> = {
  text: (value) => (value === '' ? 'it needs a value' : undefined),
  // An empty prefix is not the same as an absent one, which means blobs/ and manifests/.
  prefix: () => undefined,
  flag: (value) => (parseFlag(value) === undefined ? 'it takes true or false' : undefined),
  force: (value) => (value !== '' && parseFlag(value) === undefined ? 'it takes true or false' : undefined),
  count: (value) => (/^\d+$/.test(value) && Number(value) > 0 ? undefined : 'it takes a whole number from 1 on'),
  digest: (value) => (isDigest(value) ? undefined : 'a digest is sha256: and 64 lower-case hex digits'),
  duration: (value) => (DURATION.test(value) ? undefined : 'it takes a duration such as 10m or 24h'),
  mode: oneOf(['min', 'max']),
  compression: oneOf(COMPRESSIONS),
  level: levelFault,
  retry: oneOf(['standard', 'adaptive']),
  version: oneOf(['1', '2']),
};

function oneOf(choices: readonly string[]): (value: string) => string | undefined {
  return (value) => (choices.includes(value) ? undefined : `it takes ${choices.join(' or ')}`);
}

/**
 * Checks the value of an attribute.
 *
 * @param compression - the compression that a level is for; gzip when it is not named, as in BuildKit
 * @throws CacheError USAGE
 */
export function validate(
  name: string,
  value: string,
  kind: AttributeKind,
  compression: string | undefined,
  side: Side,
): void {
  const hint = FAULTS[kind](value, compression ?? 'gzip');
  if (hint === undefined) return;
  throw new CacheError('USAGE', `${name}=${value} is not possible`, { hint, side });
}

function levelFault(value: string, compression: string): string | undefined {
  // A compression that is none is reported where it stands.
  if (!COMPRESSIONS.includes(compression)) return undefined;
  const range = LEVELS[compression];
  if (range === undefined) return `compression=${compression} has no levels; leave it out`;
  const level = /^\d+$/.test(value) ? Number(value) : Number.NaN;
  return level >= range[0] && level <= range[1] ? undefined : `${compression} takes ${range[0]} to ${range[1]}`;
}

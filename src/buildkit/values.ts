import { CacheError, type Side } from '../errors.js';
import { isDigest } from '../oci/digest.js';
import type { AttributeKind } from './attributes.js';

const TRUE = new Set(['1', 't', 'T', 'TRUE', 'true', 'True']);
const FALSE = new Set(['0', 'f', 'F', 'FALSE', 'false', 'False']);

/** A boolean as Go's strconv.ParseBool reads it; undefined for other texts. */
export function parseFlag(text: string): boolean | undefined {
  if (TRUE.has(text)) return true;
  return FALSE.has(text) ? false : undefined;
}

// Go's time.ParseDuration.
const DURATION = /^[+-]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+)$/;
const UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  '\u00b5s': 1e-3,
  '\u03bcs': 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** A duration as Go's time.ParseDuration reads it, in milliseconds; undefined when it is none. */
export function parseGoDuration(text: string): number | undefined {
  if (!DURATION.test(text)) return undefined;
  const parts = text.matchAll(/([\d.]+)([a-z\u00b5\u03bc]+)/g);
  const sum = [...parts].reduce((total, [, number, unit = '']) => total + Number(number) * (UNITS[unit] ?? 0), 0);
  return text.startsWith('-') ? -sum : sum;
}

const FLAG = 'it takes true or false';
const LARGEST = 2n ** 63n;

/** What is wrong with a value, and whether BuildKit then ignores the attribute. */
interface Fault {
  readonly expected: string;
  readonly ignored?: true;
}

/** The checks of the values of each kind; undefined for a valid value. */
const FAULTS: Readonly<Record<AttributeKind, (value: string) => Fault | undefined>> = {
  text: (value) => (value === '' ? { expected: 'it needs a value' } : undefined),
  any: () => undefined,
  optional: (value) => (value === '' ? { expected: 'it is empty', ignored: true } : undefined),
  flag: (value) => (parseFlag(value) === undefined ? { expected: FLAG } : undefined),
  'loose flag': (value) => (parseFlag(value) === undefined ? { expected: FLAG, ignored: true } : undefined),
  force: (value) => (value !== '' && parseFlag(value) === undefined ? { expected: FLAG } : undefined),
  count: (value) => (isNumber(value, 1n) ? undefined : { expected: 'it takes a whole number from 1 on' }),
  number: (value) => (isNumber(value, -LARGEST) ? undefined : { expected: 'it takes a whole number' }),
  digest(value) {
    if (value === '') return { expected: 'it is empty', ignored: true };
    return isDigest(value) ? undefined : { expected: 'a digest is sha256: and 64 lower-case hex digits' };
  },
  duration: (value) => (DURATION.test(value) ? undefined : { expected: 'it takes a duration such as 10m or 24h' }),
  'loose duration': (value) =>
    DURATION.test(value) ? undefined : { expected: 'it takes a duration such as 10m or 24h', ignored: true },
  mode: (value) => (['min', 'max'].includes(value) ? undefined : { expected: 'it takes min or max', ignored: true }),
  compression: oneOf(['uncompressed', 'gzip', 'estargz', 'zstd']),
  retry: oneOf(['standard', 'adaptive']),
};

/** A whole number as Go's strconv.ParseInt reads it. */
function isNumber(value: string, least: bigint): boolean {
  if (!/^[+-]?\d+$/.test(value)) return false;
  const number = BigInt(value.replace('+', ''));
  return number >= least && number < LARGEST;
}

function oneOf(choices: readonly string[]): (value: string) => Fault | undefined {
  return (value) => (choices.includes(value) ? undefined : { expected: `it takes ${choices.join(' or ')}` });
}

/**
 * Checks the value of an attribute.
 *
 * @returns why the attribute has no effect; undefined when it has an effect
 * @throws CacheError USAGE for a value that BuildKit refuses
 */
export function validate(name: string, value: string, kind: AttributeKind, side: Side): string | undefined {
  const fault = FAULTS[kind](value);
  if (fault?.ignored === true) return fault.expected;
  if (fault === undefined) return undefined;
  throw new CacheError('USAGE', `${name}=${value} is not possible`, { hint: fault.expected, side });
}

export function isPath(text: string): boolean {
  return /^(?:\/|\.\.?\/)/.test(text);
}

/** Whether a text is an option string such as `type=local,src=PATH`, and not a path that contains `type=`. */
export function isOptionString(text: string): boolean {
  return !isPath(text) && text.includes('type=');
}

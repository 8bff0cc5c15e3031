import type { Timestamp } from '../oci/go-time.js';

export { isTimestamp, normalizeTimestamp, type Timestamp, timeType, utcTimestamp, ZERO_TIME } from '../oci/go-time.js';

/** Compares two times in any zones, to the nanosecond. */
export function compareTimestamps(a: Timestamp, b: Timestamp): number {
  if (a === b) return 0;
  const [secondsA, nanosA] = split(a);
  const [secondsB, nanosB] = split(b);
  return secondsA - secondsB || nanosA - nanosB;
}

function split(text: Timestamp): [milliseconds: number, nanoseconds: number] {
  const [, seconds = '', fraction = '', zone = 'Z'] = /^([^.Z+]{19})(?:\.(\d+))?(.*)$/.exec(text) ?? [];
  return [Date.parse(`${seconds}${zone}`), Number(fraction.padEnd(9, '0'))];
}

/** A point in time as RFC 3339 text with up to nanoseconds, the way Go's time.Time is written in JSON. */
export type Timestamp = string;

/** Go's zero time. */
export const ZERO_TIME: Timestamp = '0001-01-01T00:00:00Z';

const RFC3339 = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,9})\d*)?(Z|[+-]\d{2}:\d{2})$/;

/** Whether the text is a time that Go would read. */
export function isTimestamp(text: string): boolean {
  const parts = RFC3339.exec(text);
  return parts !== null && !Number.isNaN(Date.parse(`${parts[1]}${parts[3]}`));
}

/** The text that Go would write for this time: nanoseconds at most, trailing zeros cut. */
export function normalizeTimestamp(text: Timestamp): Timestamp {
  const [, seconds = '', fraction = '', zone = ''] = RFC3339.exec(text) ?? [];
  const digits = fraction.replace(/0+$/, '');
  return digits === '' ? `${seconds}${zone}` : `${seconds}.${digits}${zone}`;
}

/** Compares two points in time, whatever their zones, down to the nanosecond. */
export function compareTimestamps(a: Timestamp, b: Timestamp): number {
  const [secondsA, nanosA] = split(a);
  const [secondsB, nanosB] = split(b);
  return secondsA - secondsB || nanosA - nanosB;
}

function split(text: Timestamp): [milliseconds: number, nanoseconds: number] {
  const [, seconds = '', fraction = '', zone = 'Z'] = RFC3339.exec(text) ?? [];
  return [Date.parse(`${seconds}${zone}`), Number(fraction.padEnd(9, '0'))];
}

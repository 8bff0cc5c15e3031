import type { GoType } from './go-types.js';

/** A time as RFC 3339 text with up to nanoseconds, as Go writes time.Time in JSON. */
export type Timestamp = string;

/** Go's zero time. */
export const ZERO_TIME: Timestamp = '0001-01-01T00:00:00Z';

// Go accepts more than RFC 3339: an hour of one digit, a comma (time/format.go, Parse).
const RFC3339 = /^(\d{4})-(\d\d)-(\d\d)T(\d\d?):(\d\d):(\d\d)(?:[.,](\d+))?(?:Z|([+-])(\d\d):(\d\d))$/;

/** time.Time. Go reads the raw text between the quotes, so that escapes are invalid (Time.UnmarshalJSON). */
export const timeType: GoType<Timestamp> = {
  zero: () => ZERO_TIME,
  read(input, before) {
    if (input.isNull()) return before;
    if (!input.isString()) throw input.mismatch('a time');
    const start = input.at;
    const text = input.rawString();
    const time = normalizeTimestamp(text);
    if (time === undefined) throw input.invalid(start, JSON.stringify(text), 'not an RFC 3339 time');
    return time;
  },
};

/** Whether Go reads the text as a time. */
export function isTimestamp(text: string): boolean {
  return normalizeTimestamp(text) !== undefined;
}

/**
 * The text that Go writes for a time: at most nanoseconds, without trailing zeros. A time in a zone that Go reads and does
 * not write, such as +24:00, becomes UTC.
 *
 * @returns undefined for a text that Go does not read as a time
 */
function normalizeTimestamp(text: string): Timestamp | undefined {
  const found = RFC3339.exec(text);
  if (found === null) return undefined;
  const [, year = '', month = '', day = '', hour = '', minute = '', second = '', fraction = ''] = found;
  const [sign, zoneHour = '00', zoneMinute = '00'] = found.slice(8);
  if (!isDate(Number(year), Number(month), Number(day))) return undefined;
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59) return undefined;
  // Go accepts offsets of 24 hours and of 60 minutes, since some programs write them (time/format.go).
  if (Number(zoneHour) > 24 || Number(zoneMinute) > 60) return undefined;
  const digits = fraction.slice(0, 9).replace(/0+$/, '');
  const tail = digits === '' ? '' : `.${digits}`;
  const offset = Number(zoneHour) * 60 + Number(zoneMinute);
  const local = `${year}-${month}-${day}T${hour.padStart(2, '0')}:${minute}:${second}`;
  if (offset === 0) return `${local}${tail}Z`;
  if (offset < 24 * 60) return `${local}${tail}${sign}${twoDigits(Math.floor(offset / 60))}:${twoDigits(offset % 60)}`;
  const utc = new Date(Date.parse(`${local}Z`) + (sign === '-' ? offset : -offset) * 60_000);
  return `${utc.toISOString().slice(0, -'.000Z'.length)}${tail}Z`;
}

/**
 * The same time in UTC, as Go would write it.
 *
 * @returns undefined for what Go would not read, or not write
 */
export function utcTimestamp(text: string): Timestamp | undefined {
  const time = normalizeTimestamp(text);
  if (time === undefined || time.endsWith('Z')) return time;
  const [, seconds = '', fraction = '', zone = ''] = /^([^.]{19})(\.\d+)?(.*)$/.exec(time) ?? [];
  const utc = new Date(Date.parse(`${seconds}${zone}`)).toISOString();
  // Another year than one of four digits is none to Go.
  return /^\d{4}-/.test(utc) ? `${utc.slice(0, -'.000Z'.length)}${fraction}Z` : undefined;
}

function twoDigits(value: number): string {
  return `${value}`.padStart(2, '0');
}

function isDate(year: number, month: number, day: number): boolean {
  if (month < 1 || month > 12 || day < 1) return false;
  const isLeap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const days = month === 2 ? (isLeap ? 29 : 28) : [4, 6, 9, 11].includes(month) ? 30 : 31;
  return day <= days;
}

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

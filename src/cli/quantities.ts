import { isOptionString } from '../buildkit/values.js';
import { CacheError } from '../errors.js';
import type { Sample } from '../operations/verify/sample.js';
import type { Reader } from './verb.js';

const MILLISECONDS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

/** Any text. */
export const parseText: Reader<string> = (text) => text;

/**
 * The path of a folder. An option string is refused, and not shown: it may contain a secret.
 *
 * @throws CacheError USAGE
 */
export const parseFolder: Reader<string> = (text, name) => {
  if (!isOptionString(text)) return text;
  throw new CacheError('USAGE', `${name} takes a path, and was given an option string`, {
    hint: 'write the path of the folder; if "type=" is part of the path, start it with ./ or /',
  });
};

/**
 * A duration such as `10s`, `1h30m` or `30d`, in milliseconds. Only 0 needs no unit.
 *
 * @param option - its name, for the message
 * @throws CacheError USAGE
 */
export function parseDuration(text: string, option: string): number {
  return durationOf(text, option, '10s, 1h30m or 30d');
}

/**
 * A duration that decides what is deleted. `3m` alone is refused, since it may mean months; `1h30m` and `3m30s` are
 * accepted.
 *
 * @throws CacheError USAGE
 */
export function parseAge(text: string, option: string): number {
  const [, count] = /^(\d+(?:\.\d+)?)m$/i.exec(text) ?? [];
  if (count === undefined) return durationOf(text, option, '90min, 12h or 30d');
  throw new CacheError('USAGE', `${option} ${text} may be minutes or months`, {
    hint: `write ${count}min for minutes, or ${Math.round(Number(count) * 30)}d for months`,
  });
}

function durationOf(text: string, option: string, such: string): number {
  if (/^0+(?:\.0+)?$/.test(text)) return 0;
  if (/^\d+(?:\.\d+)?$/.test(text)) {
    throw new CacheError('USAGE', `${option} needs a unit: ${text} of what?`, {
      hint: `write ${text}s, ${text}min, ${text}h or ${text}d`,
    });
  }
  let sum = 0;
  for (const [, number = '', unit = ''] of text.matchAll(/(\d+(?:\.\d+)?)(ms|min|[smhdw])/g)) {
    sum += Number(number) * (MILLISECONDS[unit] ?? 0);
  }
  if (!/^(?:\d+(?:\.\d+)?(?:ms|min|[smhdw]))+$/.test(text) || sum > Number.MAX_SAFE_INTEGER) {
    throw new CacheError('USAGE', `${option} takes a duration such as ${such}, not ${JSON.stringify(text)}`, {
      hint: 'the units are ms, s, min, h, d and w; a month is 30d, a year 365d',
    });
  }
  return whole(sum);
}

const POWERS = ['', 'k', 'm', 'g', 't'];

/**
 * A size such as `10GB`, `512MiB` or `2g`, in bytes: prefixes with an `i` are powers of 1024, others of 1000. Only 0
 * needs no unit.
 *
 * @param option - its name, for the message
 * @throws CacheError USAGE
 */
export function parseSize(text: string, option: string): number {
  const [, number, prefix = '', binary = '', unit = ''] = /^(\d+(?:\.\d+)?) ?([kmgt]?)(i?)(b?)$/i.exec(text) ?? [];
  const size = Number(number) * (binary === '' ? 1000 : 1024) ** POWERS.indexOf(prefix.toLowerCase());
  if (number === undefined || (binary !== '' && prefix === '') || size > Number.MAX_SAFE_INTEGER) {
    throw new CacheError('USAGE', `${option} takes a size such as 10GB or 512MiB, not ${JSON.stringify(text)}`, {
      hint: 'the units are B, kB, MB, GB, TB, KiB, MiB, GiB and TiB',
    });
  }
  if (prefix + unit === '' && size !== 0) {
    throw new CacheError('USAGE', `${option} needs a unit: ${text} of what?`, {
      hint: `write ${text}MB or ${text}GB; ${text}B for bytes`,
    });
  }
  return whole(size);
}

/** Rounds, but a number above 0 becomes at least 1. */
function whole(number: number): number {
  return number === 0 ? 0 : Math.max(1, Math.round(number));
}

/** A reader of whole numbers from `least` to `most`. */
export function parseCount(least: number, most = Number.MAX_SAFE_INTEGER): Reader<number> {
  return (text, option) => {
    if (/^\d{1,15}$/.test(text) && Number(text) >= least && Number(text) <= most) return Number(text);
    const range = most === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `from ${least} to ${most}`;
    throw new CacheError('USAGE', `${option} takes a whole number ${range}, not ${JSON.stringify(text)}`);
  };
}

/** A reader of one of several words. */
export function parseChoice<const Choice extends string>(...choices: readonly Choice[]): Reader<Choice> {
  return (text, option) => {
    const choice = choices.find((one) => one === text);
    if (choice !== undefined) return choice;
    throw new CacheError('USAGE', `${option} takes ${choices.join(', ')}, not ${JSON.stringify(text)}`);
  };
}

/**
 * A sample of blobs: `1/7`, `10%` or a size.
 *
 * @throws CacheError USAGE
 */
export function parseSample(text: string, option: string): Sample {
  const [, part, of] = /^(\d{1,6})\/(\d{1,6})$/.exec(text) ?? [];
  if (part !== undefined && Number(part) >= 1 && Number(part) <= Number(of))
    return { part: Number(part), of: Number(of) };
  const percent = Number(/^(\d+(?:\.\d+)?)%$/.exec(text)?.[1] ?? Number.NaN);
  if (percent > 0 && percent <= 100) return { share: percent / 100 };
  if (/^\d[^/%]*$/.test(text)) return { bytes: parseSize(text, option) };
  throw new CacheError('USAGE', `${option} takes a part such as 1/7, 10% or 2GB, not ${JSON.stringify(text)}`);
}

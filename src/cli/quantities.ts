import { CacheError } from '../errors.js';
import type { Sample } from '../verify/sample.js';

const MILLISECONDS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

/**
 * A length of time such as `10s`, `1h30m` or `30d`, in milliseconds; a bare number is seconds.
 *
 * @param option - its name, for the message
 * @throws CacheError USAGE
 */
export function parseDuration(text: string, option: string): number {
  if (/^\d+(?:\.\d+)?$/.test(text)) return Number(text) * 1000;
  if (!/^(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+$/.test(text)) {
    throw new CacheError('USAGE', `${option} takes a length of time such as 10s, 1h30m or 30d, not "${text}"`);
  }
  let sum = 0;
  for (const [, number = '', unit = ''] of text.matchAll(/(\d+(?:\.\d+)?)(ms|[smhdw])/g)) {
    sum += Number(number) * (MILLISECONDS[unit] ?? 0);
  }
  return sum;
}

const POWERS = ['', 'k', 'm', 'g', 't'];

/**
 * A size such as `10GB`, `512MiB` or `2g`, in bytes: as elsewhere, with an `i` in powers of 1024, otherwise of 1000.
 *
 * @param option - its name, for the message
 * @throws CacheError USAGE
 */
export function parseSize(text: string, option: string): number {
  const match = /^(\d+(?:\.\d+)?) ?([kmgt]?)(i?)b?$/i.exec(text);
  const [, number = '', prefix = '', binary = ''] = match ?? [];
  if (match === null || (binary !== '' && prefix === '')) {
    throw new CacheError('USAGE', `${option} takes a size such as 10GB or 512MiB, not "${text}"`);
  }
  return Math.floor(Number(number) * (binary === '' ? 1000 : 1024) ** POWERS.indexOf(prefix.toLowerCase()));
}

/**
 * A whole number from `least` to `most`.
 *
 * @throws CacheError USAGE
 */
export function parseCount(text: string, option: string, least = 1, most = Number.MAX_SAFE_INTEGER): number {
  if (/^\d{1,15}$/.test(text) && Number(text) >= least && Number(text) <= most) return Number(text);
  const range = most === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `from ${least} to ${most}`;
  throw new CacheError('USAGE', `${option} takes a whole number ${range}, not "${text}"`);
}

/**
 * A part of some blobs: `1/7`, `10%` or a size.
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
  throw new CacheError('USAGE', `${option} takes a part such as 1/7, 10% or 2GB, not "${text}"`);
}

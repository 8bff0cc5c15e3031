import type { RequestCounts } from '../../backend/cache-store.js';
import type { CacheSummary } from '../../operations/cache-summary.js';
import { type Digest, splitDigest } from '../../oci/digest.js';

/** The form of a noun for a count: `1 layer`, `2 layers`. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return count === 1 ? one : many;
}

/** A count with its noun: `1 layer`, `2 layers`. */
export function quantity(count: number, one: string, many?: string): string {
  return `${count} ${plural(count, one, many)}`;
}

/** How many requests a service was sent, by kind; kinds that it was not sent are left out. */
export function requestsText(requests: RequestCounts): string {
  const sent = Object.entries(requests).filter(([, count]) => count > 0);
  return `requests: ${sent.length === 0 ? 'none' : sent.map(([kind, count]) => `${count} ${kind}`).join(', ')}`;
}

/** The first 12 characters of a digest's encoded part. */
export function shortDigest(digest: Digest): string {
  return splitDigest(digest)[1].slice(0, 12);
}

/** The shape of a cache's manifest; `inline` or `no manifest` for a cache without a manifest. */
export function shapeText({ shape, platforms }: Pick<CacheSummary, 'shape' | 'platforms'>): string {
  return shape ?? (platforms === undefined ? 'no manifest' : 'inline');
}

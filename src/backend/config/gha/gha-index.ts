import { collect } from '../../../bytes/collect.js';
import { limited } from '../../../bytes/limited.js';
import { CacheError } from '../../../errors.js';
import { type Document, documentOf } from '../../../oci/document.js';
import { JSON_LIMIT } from '../../../oci/json.js';
import { CACHE_CONFIG } from '../../../oci/media-types.js';
import { indexKey, numberIn } from './cache-keys.js';
import type { CacheEntry } from './cache-service.js';
import type { GhaPlace } from './gha-place.js';

/** The newest index of a cache in one scope of GitHub. */
export interface FoundIndex {
  readonly entry: CacheEntry;
  readonly document: Document;
  /** Whether BuildKit signs the caches of this place: the signature is in another entry, which is not read. */
  readonly isSigned: boolean;
}

/**
 * Reads the newest index of a cache in one scope of GitHub; that of a signed cache where there is no other one.
 *
 * @param ref - such as `refs/heads/main`
 */
export async function readIndex(
  place: GhaPlace,
  ref: string,
  signal: AbortSignal | undefined,
): Promise<FoundIndex | undefined> {
  const { scope } = place.settings;
  for (const isSigned of [false, true]) {
    const entry = await findIndex(place, indexKey(scope, ref, { isSigned }), signal);
    if (entry === undefined) continue;
    const tooLarge = () => new CacheError('FAILED', `${entry.key} has over ${JSON_LIMIT} bytes, the limit`);
    const content = place.entry(entry, Number.MAX_SAFE_INTEGER);
    const bytes = await collect(limited(content.open({}, signal), JSON_LIMIT, tooLarge));
    return { entry, document: documentOf(CACHE_CONFIG, bytes), isSigned };
  }
  return undefined;
}

/** The newest entry whose key is a prefix and a number: an answer with another key is the index of another cache. */
export async function findIndex(
  { service }: GhaPlace,
  prefix: string,
  signal: AbortSignal | undefined,
): Promise<CacheEntry | undefined> {
  const entry = await service.find(prefix, signal);
  return entry !== undefined && numberIn(entry.key, prefix) !== undefined ? entry : undefined;
}

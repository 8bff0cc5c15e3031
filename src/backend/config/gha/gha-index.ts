import { setTimeout as sleep } from 'node:timers/promises';
import { collect } from '../../../bytes/collect.js';
import { limited } from '../../../bytes/limited.js';
import { CacheError } from '../../../errors.js';
import { contentOf } from '../../../oci/content.js';
import { type Document, documentOf } from '../../../oci/document.js';
import { JSON_LIMIT } from '../../../oci/json.js';
import { CACHE_CONFIG } from '../../../oci/media-types.js';
import { indexKey, numberIn } from './cache-keys.js';
import type { CacheEntry } from './cache-service.js';
import { UPLOAD_TIMES, UploadRetry, type UploadTimes } from './entry-upload.js';
import type { GhaPlace } from './gha-place.js';

/** How many numbers of an index are tried that are reserved. */
const MOST_NUMBERS = 50;

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
    if (entry !== undefined) return { entry, document: await readDocument(place, entry, signal), isSigned };
  }
  return undefined;
}

/** The cacheconfig in an entry. */
export async function readDocument(
  place: GhaPlace,
  entry: CacheEntry,
  signal: AbortSignal | undefined,
): Promise<Document> {
  const tooLarge = () => new CacheError('FAILED', `${entry.key} has over ${JSON_LIMIT} bytes, the limit`);
  const content = place.entry(entry, Number.MAX_SAFE_INTEGER);
  return documentOf(CACHE_CONFIG, await collect(limited(content.open({}, signal), JSON_LIMIT, tooLarge)));
}

/** The newest entry whose key is a prefix and a number: an answer with another key is the index of another cache. */
export async function findIndex(
  place: GhaPlace,
  prefix: string,
  signal: AbortSignal | undefined,
): Promise<CacheEntry | undefined> {
  const entry = await place.find(prefix, signal);
  return entry !== undefined && numberIn(entry.key, prefix) !== undefined ? entry : undefined;
}

/**
 * Writes a new index, so that it is the newest one: under the number after that of the newest one. Two writers at once do not
 * get the same number (go-actions-cache, SaveMutable). A number that stays reserved, as by a run that has crashed, is left out
 * after a while.
 *
 * @param prefix - of its key, up to the number
 * @returns the key
 */
export async function writeIndex(
  place: GhaPlace,
  prefix: string,
  bytes: Uint8Array,
  signal: AbortSignal | undefined,
  { indexPause, index: longest }: UploadTimes = UPLOAD_TIMES,
): Promise<string> {
  const retry = new UploadRetry();
  let blocked = 0;
  let tries = 0;
  for (;;) {
    const newest = await findIndex(place, prefix, signal);
    if (newest !== undefined && (await findIndex(place, prefix, signal))?.key !== newest.key) continue;
    let number = numberIn(newest?.key ?? '', prefix) ?? 0;
    let step = 1;
    for (let isWaiting = false; !isWaiting;) {
      number += step;
      // A user who cannot look has to find a number by trying.
      if (place.isBlind) step *= 2;
      const key = `${prefix}${number}`;
      const reservation = await place.service.reserve(key, signal);
      if (typeof reservation !== 'string') {
        const content = { open: () => contentOf(bytes).open({}, signal), size: bytes.length };
        if (await retry.upload(place, key, reservation, content, signal)) return key;
        continue;
      }
      if (++tries >= MOST_NUMBERS) {
        throw new CacheError('DENIED', `${place.connection.name}: ${MOST_NUMBERS} numbers of ${prefix} are reserved`, {
          side: place.connection.side,
          hint: 'other runs are writing this cache, or have crashed: GitHub frees such keys in up to a day',
        });
      }
      isWaiting = reservation === 'taken' && !place.isBlind && blocked < longest;
    }
    if (blocked === 0) place.note(`another run is writing ${prefix}: waiting for it`);
    await sleep(indexPause, undefined, { signal });
    blocked += indexPause;
  }
}

import { CacheError } from '../../../errors.js';
import { type Changes, isUnread } from '../../cache-store.js';
import { writableScope } from './actions-token.js';
import { indexKey } from './cache-keys.js';
import { type CacheIndexes, type GhaEntries, listIndexes } from './gha-entries.js';
import { writeIndex } from './gha-index.js';
import type { GhaPlace } from './gha-place.js';
import type { GithubRest } from './github-rest.js';

/**
 * Writes indexes, and removes caches. What an export has written since a cache was read stays: entries are deleted by their
 * ids, and those of a newer index are others.
 *
 * @returns whether every cache was still as it had been read
 * @throws CacheError DENIED for a cache in a scope that the token does not write
 */
export async function change(
  place: GhaPlace,
  rest: GithubRest,
  entries: GhaEntries,
  changes: Changes,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  if (changes.entries.length === 0) return true;
  const bytesOf = new Map(changes.documents.map(({ descriptor, bytes }) => [descriptor.digest, bytes]));
  const now = new Map((await entries.list(signal)).map((cache) => [cache.name, cache]));
  const wanted = changes.entries.flatMap(({ entry, to }) => {
    const cache = now.get(entry.names[0] ?? '');
    const isSame = cache && !isUnread(cache.entry) && cache.entry.descriptor.digest === entry.descriptor.digest;
    return cache !== undefined && isSame === true ? [{ cache, to, bytes: to && bytesOf.get(to.digest) }] : [];
  });
  for (const { cache, to } of wanted) if (to !== undefined) refuseOther(place, cache);
  for (const { cache, to, bytes } of wanted) {
    if (to === undefined) await removeCache(rest, cache, signal);
    else if (bytes !== undefined) await writeIndex(place, indexKey(cache.key.name, cache.newest.ref), bytes, signal);
  }
  return wanted.length === changes.entries.length;
}

/** @throws CacheError DENIED for a cache that the token cannot write again */
function refuseOther({ settings, connection }: GhaPlace, { name, key, newest }: CacheIndexes): void {
  if (newest.ref === writableScope(settings.access) && !key.isSigned) return;
  const why = key.isSigned
    ? 'a signed cache is written by BuildKit alone'
    : `the token of this job does not write ${newest.ref}`;
  throw new CacheError('DENIED', `${connection.name}: ${name} cannot be changed: ${why}`, {
    hint: 'run it in a job of that branch',
    side: 'import',
  });
}

/**
 * Removes caches; layers stay. All names are looked for before one is removed.
 *
 * @throws CacheError NOT_FOUND for a name that is missing
 */
export async function removeNames(
  { settings }: GhaPlace,
  rest: GithubRest,
  names: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const caches = new Map((await listIndexes(rest, settings.access, signal)).map((cache) => [cache.name, cache]));
  const missing = names.find((name) => !caches.has(name));
  if (missing !== undefined) {
    throw new CacheError('NOT_FOUND', `there is no cache ${JSON.stringify(missing)}`, {
      hint: `the caches there are: ${[...caches.keys()].join(', ')}`,
      side: 'import',
    });
  }
  for (const cache of caches.values()) if (names.includes(cache.name)) await removeCache(rest, cache, signal);
}

/** The newest index goes last: an older one would count again. */
async function removeCache(
  rest: GithubRest,
  { newest, older }: CacheIndexes,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const entry of [...older, newest]) await rest.remove(entry, signal);
}

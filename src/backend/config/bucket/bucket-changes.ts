import { parallel } from '../../../bytes/parallel.js';
import { CacheError } from '../../../errors.js';
import { type BucketKeys, manifestKey } from './bucket-keys.js';
import { CONCURRENCY } from './bucket-source.js';
import type { ObjectStore } from './object-store.js';

/**
 * Removes names; blobs stay. All names are looked for before one is removed.
 *
 * @throws CacheError NOT_FOUND for a name that is missing, DENIED
 */
export async function removeNames(
  store: ObjectStore,
  keys: BucketKeys,
  names: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  await parallel(names, CONCURRENCY, signal, async (name, inner) => {
    const answer = await store.head(manifestKey(keys, name), inner);
    if (answer.state === 'unknown') throw answer.problem;
    if (answer.state === 'there') return;
    throw new CacheError('NOT_FOUND', `${store.name} has no cache named ${JSON.stringify(name)}`, { side: 'import' });
  });
  for (const name of names) await store.remove(manifestKey(keys, name), signal);
}

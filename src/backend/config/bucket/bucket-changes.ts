import { parallel } from '../../../bytes/parallel.js';
import { decodeCacheConfig } from '../../../buildkit/cache-config.js';
import { CacheError } from '../../../errors.js';
import { contentOf } from '../../../oci/content.js';
import { type Digest, sha256 } from '../../../oci/digest.js';
import { JSON_LIMIT } from '../../../oci/json.js';
import type { Changes, EntryChange } from '../../cache-store.js';
import { blobKey, type BucketKeys, manifestKey, TOUCH_REFRESH } from './bucket-keys.js';
import { findObjects } from './bucket-presence.js';
import { CONCURRENCY } from './bucket-source.js';
import type { ObjectStore } from './object-store.js';

/**
 * Writes cacheconfigs under the names that change, and removes names. Each name is read just before: what an export has
 * written meanwhile stays. An export that ends between these two requests is overwritten, or its name removed.
 *
 * @throws CacheError DENIED, FAILED; the names before stay changed
 */
export async function change(
  store: ObjectStore,
  keys: BucketKeys,
  { entries, documents }: Changes,
  signal: AbortSignal | undefined,
): Promise<void> {
  const bytesOf = new Map(documents.map(({ descriptor, bytes }) => [descriptor.digest, bytes]));
  for (const { entry, to } of entries) {
    for (const name of entry.names) await changeName(store, keys, name, { entry, to }, bytesOf, signal);
  }
}

async function changeName(
  store: ObjectStore,
  keys: BucketKeys,
  name: string,
  { entry, to }: EntryChange,
  documents: ReadonlyMap<Digest, Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const key = manifestKey(keys, name);
  const bytes = to && documents.get(to.digest);
  if (bytes !== undefined) await touchBlobs(store, keys, bytes, store.nameOf(key), signal);
  const answer = await store.read(key, JSON_LIMIT, signal);
  if (answer.state === 'unknown') throw answer.problem;
  if (answer.state === 'missing' || sha256(answer.value) !== entry.descriptor.digest) return;
  if (bytes !== undefined) await store.put(key, contentOf(bytes).open({}, signal), bytes.length, signal);
  else if (to === undefined) await store.remove(key, signal);
}

/**
 * Makes the blobs young that a cacheconfig names: a cacheconfig that is written again expires later, and its blobs must not
 * expire before it.
 *
 * @throws CacheError FAILED where the service does not touch one
 */
async function touchBlobs(
  store: ObjectStore,
  keys: BucketKeys,
  config: Uint8Array,
  name: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (store.touch === undefined) return;
  const blobs = new Set(decodeCacheConfig(config, name).layers.map(({ blob }) => blobKey(keys, blob)));
  const found = await findObjects(store, keys.blobs, [...blobs], signal);
  await parallel([...found.values()], CONCURRENCY, signal, async (object, inner) => {
    if (Date.now() - object.modified <= TOUCH_REFRESH || (await store.touch?.(object, inner)) === true) return;
    throw new CacheError('FAILED', `${name} stays as it is: the service does not make ${object.key} young again`, {
      hint: 'the cache would expire after its blobs, in a bucket with a rule for old objects; drop whole names there',
    });
  });
}

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

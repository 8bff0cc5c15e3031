import { CacheError } from '../../../errors.js';
import { parallel } from '../../../bytes/parallel.js';
import type { ObjectStore, StoredObject } from './object-store.js';

/** From how many objects on a listing may be cheaper than a request for each. */
const WORTH_LISTING = 20;
/** For how many requests a page of a listing stands: S3 charges for one about as much as for 12, and it has 1000 keys. */
const REQUESTS_A_PAGE = 12;
const HEADS_AT_ONCE = 16;

/**
 * Which of some objects are in a bucket: by a listing where that takes few pages, and by a request for each of the others.
 * An object of which the service says nothing counts as missing, since it can be written again.
 *
 * @param prefix - what all keys start with
 */
export async function findObjects(
  store: ObjectStore,
  prefix: string,
  keys: readonly string[],
  signal: AbortSignal | undefined,
): Promise<Map<string, StoredObject>> {
  const found = new Map<string, StoredObject>();
  const left = keys.length < WORTH_LISTING ? keys : await listed(store, prefix, keys, found, signal);
  await parallel(left, HEADS_AT_ONCE, signal, async (key, inner) => {
    const answer = await store.head(key, inner);
    if (answer.state === 'there') found.set(key, answer.value);
  });
  return found;
}

/** @returns the keys of which the listing did not tell */
async function listed(
  store: ObjectStore,
  prefix: string,
  keys: readonly string[],
  found: Map<string, StoredObject>,
  signal: AbortSignal | undefined,
): Promise<readonly string[]> {
  const wanted = new Set(keys);
  let pages = Math.ceil(keys.length / REQUESTS_A_PAGE);
  // A listing does not tell whether an object in an archive can be read all the same.
  const archived: string[] = [];
  let last = '';
  try {
    for await (const page of store.list(prefix, signal)) {
      for (const object of page) {
        if (!wanted.has(object.key)) continue;
        if (object.isArchived) archived.push(object.key);
        else found.set(object.key, object);
      }
      last = page.at(-1)?.key ?? last;
      if (--pages === 0) return [...archived, ...keys.filter((key) => key > last)];
    }
    return archived;
  } catch (error) {
    signal?.throwIfAborted();
    if (!(error instanceof CacheError)) throw error;
    // Some may read and write without the right to list.
    found.clear();
    return keys;
  }
}

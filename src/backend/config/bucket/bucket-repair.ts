import { CacheError } from '../../../errors.js';
import { verified } from '../../../oci/content.js';
import type { Digest } from '../../../oci/digest.js';
import type { StoreRepair } from '../../cache-store.js';
import { change } from './bucket-changes.js';
import { blobKey, type BucketKeys, TOUCH_REFRESH } from './bucket-keys.js';
import { BucketTarget } from './bucket-target.js';
import type { ObjectStore, StoredObject } from './object-store.js';

/** How many layers that were compressed again are sent at once. */
const UPLOADS = 4;

/**
 * What repair does in a bucket. Good bytes are put over what is missing or damaged, and a name is written again on the condition
 * that it still stands for what was read. A damaged blob that no place has whole is deleted, so that the next export sends it.
 */
export function bucketRepair(store: ObjectStore, keys: BucketKeys): StoreRepair {
  const target = new BucketTarget(store, keys, { name: store.name, uploads: UPLOADS, touchRefresh: TOUCH_REFRESH });
  const find = async (digest: Digest, signal?: AbortSignal): Promise<StoredObject | undefined> => {
    const answer = await store.head(blobKey(keys, digest), signal);
    if (answer.state === 'unknown') throw answer.problem;
    return answer.state === 'there' ? answer.value : undefined;
  };
  /** The damaged objects as they were when they were read: another export may replace them with good bytes meanwhile. */
  const damaged = new Map<Digest, StoredObject>();
  return {
    keepsOthers: true,
    has: async (digest) => (await find(digest)) !== undefined,
    async isWhole(digest, signal) {
      const found = await find(digest, signal);
      if (found === undefined) return false;
      const { key, size } = found;
      if (await isGood(verified(store.content(key, size).open({}, signal), { digest, size }, store.name))) return true;
      damaged.set(digest, found);
      return false;
    },
    async restore(content, blob, { where, dryRun, signal }) {
      const bytes = verified(content.open({}, signal), blob, where);
      if (!dryRun) return store.put(blobKey(keys, blob.digest), bytes, blob.size, signal);
      for await (const _ of bytes) continue;
      return undefined;
    },
    write: (content, signal) => target.write(content, undefined, signal),
    async quarantine(digest) {
      const found = damaged.get(digest);
      const now = await find(digest);
      if (found === undefined || now?.modified !== found.modified || now.size !== found.size) return;
      await store.cleaning.removeUnchanged(found);
    },
    async change(changes, signal) {
      await change(store, keys, changes, signal);
      return true;
    },
    [Symbol.asyncDispose]: () => target[Symbol.asyncDispose](),
  };
}

/** Reads bytes to their end. @returns whether they are what they should be */
async function isGood(bytes: AsyncIterable<Uint8Array>): Promise<boolean> {
  try {
    for await (const _ of bytes) continue;
    return true;
  } catch (error) {
    if (error instanceof CacheError && error.code === 'CORRUPT') return false;
    throw error;
  }
}

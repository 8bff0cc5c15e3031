import { parallel } from '../../../bytes/parallel.js';
import { contentOf } from '../../../oci/content.js';
import type { BlobId } from '../../../oci/descriptor.js';
import type { Digest } from '../../../oci/digest.js';
import { type ConfigPlace, ConfigTarget, type ConfigTargetSettings } from '../config-target.js';
import { blobKey, type BucketKeys, manifestKey } from './bucket-keys.js';
import { findObjects } from './bucket-presence.js';
import { LostUpload, type ObjectStore } from './object-store.js';

export interface BucketTargetSettings extends ConfigTargetSettings {
  /** How old a blob may be before it is touched, in milliseconds; undefined where the backend does not do that. */
  readonly touchRefresh: number | undefined;
}

/** A cache to be written under names in a bucket: blobs, then the cacheconfig under each name. */
export class BucketTarget extends ConfigTarget {
  constructor(store: ObjectStore, keys: BucketKeys, settings: BucketTargetSettings) {
    super(bucketPlace(store, keys, settings), settings);
  }
}

function bucketPlace(
  store: ObjectStore,
  keys: BucketKeys,
  { uploads, touchRefresh }: BucketTargetSettings,
): ConfigPlace {
  const present = async (blobs: readonly BlobId[], signal: AbortSignal | undefined): Promise<ReadonlySet<Digest>> => {
    const wanted = new Set(blobs.map(({ digest }) => blobKey(keys, digest)));
    const found = await findObjects(store, keys.blobs, [...wanted], signal);
    const there = new Set<Digest>();
    await parallel(blobs, uploads, signal, async ({ digest, size }, inner) => {
      const object = found.get(blobKey(keys, digest));
      // BuildKit does not look at the size; what was cut short is written again here.
      if (object?.size !== size || there.has(digest)) return;
      const isOld = touchRefresh !== undefined && Date.now() - object.modified > touchRefresh;
      if (isOld && (await store.touch?.(object, inner)) === false) return;
      there.add(digest);
    });
    return there;
  };
  return {
    present,
    content: ({ digest, size }) => store.content(blobKey(keys, digest), size),
    copy: (from, blob, signal) =>
      store.copyFrom?.(from, blobKey(keys, blob.digest), blob, signal) ?? Promise.resolve(false),
    async store(open, { digest, size }, signal) {
      const key = blobKey(keys, digest);
      const send = () => store.create?.(key, open(), size, signal) ?? store.put(key, open(), size, signal);
      await send().catch(async (error: unknown) => {
        if (!(error instanceof LostUpload)) throw error;
        await send();
      });
    },
    async publish({ bytes }, signal) {
      for (const name of keys.names) {
        await store.put(manifestKey(keys, name), contentOf(bytes).open({}, signal), bytes.length, signal);
      }
    },
  };
}

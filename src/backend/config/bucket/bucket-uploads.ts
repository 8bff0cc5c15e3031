import { CacheError } from '../../../errors.js';
import { isDigest } from '../../../oci/digest.js';
import type { BucketKeys } from './bucket-keys.js';
import type { OpenUpload } from './object-cleaning.js';
import type { ObjectStore } from './object-store.js';

/** The uploads that ended before their end, and why it is not known which there are. */
export interface DeadUploads {
  readonly uploads: readonly OpenUpload[];
  readonly note?: string;
}

/**
 * The uploads of blobs and names that began before a time and have not ended: services charge for their parts. Uploads with
 * other keys are those of others.
 *
 * @param cutoff - in milliseconds since 1970
 */
export async function deadUploads(
  store: ObjectStore,
  places: readonly BucketKeys[],
  cutoff: number,
  signal: AbortSignal | undefined,
): Promise<DeadUploads> {
  const { cleaning } = store;
  if (cleaning.uploads === undefined) return { uploads: [] };
  const found = new Map<string, OpenUpload>();
  const prefixes = new Set(places.flatMap(({ blobs, manifests }) => (manifests === '' ? [blobs] : [blobs, manifests])));
  try {
    for (const prefix of prefixes) {
      for await (const page of cleaning.uploads(prefix, signal)) {
        for (const upload of page) {
          const isOurs = places.some(({ blobs, manifests }) => {
            const isName = manifests !== '' && upload.key.startsWith(manifests);
            return isName || (upload.key.startsWith(blobs) && isDigest(upload.key.slice(blobs.length)));
          });
          if (isOurs && upload.begun < cutoff) found.set(upload.id, upload);
        }
      }
    }
    return { uploads: [...found.values()] };
  } catch (error) {
    signal?.throwIfAborted();
    if (!(error instanceof CacheError)) throw error;
    return { uploads: [], note: `unfinished uploads were not looked for: ${error.message}` };
  }
}

import { locate, openStore } from '../backend/backends.js';
import { type GcResult, refuseWithout } from '../backend/cache-store.js';
import { readWholePlace } from '../backend/option-string.js';
import { checkCall } from '../calls.js';
import { ATTRIBUTES } from '../buildkit/attributes.js';
import { abortable, CacheError } from '../errors.js';
import { Session, type SessionOptions } from '../session.js';

export interface GarbageOptions extends Pick<SessionOptions, 'layout' | 'registry' | 'signal'> {
  /** How long a blob that nothing refers to stays after its last change, in milliseconds; an hour, or two days in a bucket. */
  readonly grace?: number | undefined;
  /** For a bucket: every manifests_prefix whose caches use its blobs; that of the string is one of them anyway. */
  readonly manifestsPrefixes?: readonly string[] | undefined;
  /** Only report what would be removed. */
  readonly dryRun?: boolean | undefined;
}

/**
 * Removes from a folder or a bucket of caches what nothing needs: see `gc` in layout/gc/gc.ts for what is kept of a folder,
 * and `gcBucket` in backend/config/bucket/bucket-gc.ts for a bucket.
 *
 * @param folder - or an import string that leads into a place
 * @throws CacheError USAGE for a place that frees its blobs itself, NOT_FOUND, CORRUPT when a manifest cannot be read
 *   (nothing is deleted then), BUSY
 */
export async function collectGarbage(folder: string, options: GarbageOptions = {}): Promise<GcResult> {
  checkCall('collectGarbage', { folder, options });
  const { grace, dryRun, manifestsPrefixes, signal } = options;
  const place = await readWholePlace(folder);
  const { prefix = '' } = place.attributes;
  const isBucket = 'manifests_prefix' in ATTRIBUTES[place.type].import;
  if (!isBucket && manifestsPrefixes !== undefined) {
    throw new CacheError('USAGE', '--manifests-prefix is for buckets', { hint: 'leave it out' });
  }
  const manifests = manifestsPrefixes?.map((one) => `${prefix}${one}`);
  return abortable(signal, async () => {
    await using session = new Session(options);
    await using store = await openStore(await locate(place, 'import', session), session);
    refuseWithout(store, 'gc', 'gc');
    return await store.gc({ grace, dryRun, manifests, signal });
  });
}

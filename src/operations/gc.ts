import { locate, openStore } from '../backend/backends.js';
import { type GcResult, refuseWithout } from '../backend/cache-store.js';
import { readWholePlace } from '../backend/option-string.js';
import { checkCall } from '../calls.js';
import { ATTRIBUTES } from '../buildkit/attributes.js';
import { abortable, CacheError } from '../errors.js';
import { Session, type SessionOptions } from '../session.js';

export interface GarbageOptions extends Pick<SessionOptions, 'layout' | 'registry' | 'signal' | 'onNote'> {
  /** How long a blob that nothing refers to stays after its last change, in milliseconds; an hour, or two days in a bucket. */
  readonly grace?: number | undefined;
  /** For a bucket: every manifests_prefix whose caches use its blobs; that of the string is one of them anyway. */
  readonly manifestsPrefixes?: readonly string[] | undefined;
  /** For a bucket: whether a blob is copied before it goes, or marked where there is no room for copies; `copy` when left out. */
  readonly quarantine?: 'copy' | 'mark' | undefined;
  /** For a bucket: free blobs also where there is no cache at all. */
  readonly force?: boolean | undefined;
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
  const { grace, dryRun, manifestsPrefixes, quarantine, force, signal } = options;
  const place = await readWholePlace(folder, options.onNote);
  const isBucket = 'manifests_prefix' in ATTRIBUTES[place.type].import;
  const forBuckets = {
    '--manifests-prefix': manifestsPrefixes,
    '--quarantine': quarantine,
    '--force': force || undefined,
  };
  for (const [name, value] of Object.entries(forBuckets)) {
    if (!isBucket && value !== undefined)
      throw new CacheError('USAGE', `${name} is for buckets`, { hint: 'leave it out' });
  }
  return abortable(signal, async () => {
    await using session = new Session(options);
    await using store = await openStore(await locate(place, 'import', session), session);
    refuseWithout(store, 'gc', 'gc');
    const result = await store.gc({ grace, dryRun, manifests: manifestsPrefixes, quarantine, force, signal });
    return store.requests === undefined ? result : { ...result, requests: store.requests };
  });
}

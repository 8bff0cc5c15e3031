import { locate, openStore } from '../backend/backends.js';
import { refuseWithout, type TouchResult } from '../backend/cache-store.js';
import { readWholePlace } from '../backend/option-string.js';
import { checkCall } from '../calls.js';
import { abortable } from '../errors.js';
import { Session, type SessionOptions } from '../session.js';

export interface TouchCachesOptions extends Pick<SessionOptions, 'registry' | 'signal'> {
  /** Only blobs that are older, in milliseconds; 24 hours when left out. */
  readonly olderThan?: number | undefined;
  /** Touch the names, too. */
  readonly names?: boolean | undefined;
  /** Only say what would be touched. */
  readonly dryRun?: boolean | undefined;
}

/**
 * Makes the blobs of all caches of a bucket as young as new ones, so that a rule for old objects leaves them alone. This is not
 * a part of another verb: it is the only one that writes to a bucket and changes nothing in it, and it has a schedule of its own.
 *
 * @param place - an import string that leads into a bucket
 * @throws CacheError USAGE for a place whose blobs do not expire; for a listing that is not whole
 */
export async function touchCaches(place: string, options: TouchCachesOptions = {}): Promise<TouchResult> {
  checkCall('touchCaches', { place, options });
  const { olderThan, names, dryRun, signal } = options;
  const at = await readWholePlace(place);
  return abortable(signal, async () => {
    await using session = new Session(options);
    await using store = await openStore(await locate(at, 'import', session), session);
    refuseWithout(store, 'touch', 'touch');
    const result = await store.touch({ olderThan, names, dryRun, signal });
    return store.requests === undefined ? result : { ...result, requests: store.requests };
  });
}

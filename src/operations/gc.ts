import { locate, openStore } from '../backend/backends.js';
import { type GcResult, refuseWithout } from '../backend/cache-store.js';
import { readWholePlace } from '../backend/option-string.js';
import { checkCall } from '../calls.js';
import { abortable } from '../errors.js';
import { Session, type SessionOptions } from '../session.js';

export interface GarbageOptions extends Pick<SessionOptions, 'layout' | 'signal'> {
  /** How long a blob that nothing refers to stays after its last change, in milliseconds; one hour by default. */
  readonly grace?: number | undefined;
  /** Only report what would be removed. */
  readonly dryRun?: boolean | undefined;
}

/**
 * Removes from a folder of caches what nothing needs: see `gc` in layout/gc/gc.ts for what is kept of a folder.
 *
 * @param folder - or an import string that leads into a place
 * @throws CacheError USAGE for a place that frees its blobs itself, NOT_FOUND, CORRUPT when a manifest cannot be read
 *   (nothing is deleted then), BUSY
 */
export async function collectGarbage(folder: string, options: GarbageOptions = {}): Promise<GcResult> {
  checkCall('collectGarbage', { folder, options });
  const { grace, dryRun, signal } = options;
  const place = await readWholePlace(folder);
  return abortable(signal, async () => {
    await using session = new Session(options);
    await using store = await openStore(await locate(place, 'import', session), session);
    refuseWithout(store, 'gc', 'gc');
    return await store.gc({ grace, dryRun, signal });
  });
}

import { CacheError } from '../../../errors.js';
import type { GcOptions, GcResult } from '../../cache-store.js';
import { serviceTime } from './bucket-clock.js';
import { Inventory } from './bucket-inventory.js';
import { type BucketKeys, TOUCH_REFRESH } from './bucket-keys.js';
import { Sweep } from './bucket-sweep.js';
import { deadUploads } from './bucket-uploads.js';
import { NeededBlobs } from './needed-blobs.js';
import type { ObjectStore } from './object-store.js';

/** Longer than touch_refresh by what the longest export takes; in milliseconds. */
const DEFAULT_BUCKET_GRACE = 2 * TOUCH_REFRESH;

/**
 * Frees what no name needs, while builds may export. BuildKit's exporter relies on a blob without a request that would show
 * it, if the blob is younger than touch_refresh; it touches an older blob, and sends what is missing. In Azure it relies on
 * every blob that it finds. So:
 *
 * - a blob goes only if it is older than touch_refresh and the longest export together, by the clock of the service: an
 *   export that has found it young has ended before the names were read;
 * - a copy of it is made first, and stays for the grace; the next gc restores what a name has come to need;
 * - the object is asked for just before it is deleted, and deleted on the condition that it has not changed, where the
 *   service knows one: one that was touched stays. A touch between these two requests is lost, and then the copy is restored.
 *
 * Where a bucket has no room for copies, a list of marked blobs stands for the first run: what is still unneeded and
 * untouched after the grace is deleted, and nothing can be restored.
 *
 * @throws CacheError USAGE; and before anything is deleted: for a listing that is not whole, a name that cannot be read, a
 *   bucket without a name, and a clock that is off
 */
export async function gcBucket(store: ObjectStore, keys: BucketKeys, options: GcOptions): Promise<GcResult> {
  const { manifests = [], grace = DEFAULT_BUCKET_GRACE, dryRun = false, signal } = options;
  const isMarking = options.quarantine === 'mark';
  refuseUnsafe(store, keys, { ...options, grace });
  const prefixes = new Set([keys.manifests, ...manifests]);
  const places = Array.from(prefixes, (prefix) => ({ ...keys, manifests: prefix }));
  // A dry run writes nothing, and so has the clock of this machine.
  const now = dryRun ? Date.now() : await serviceTime(store, keys, signal);
  const cutoff = grace === 0 ? Number.POSITIVE_INFINITY : now - grace;
  const inventory = new Inventory(keys);
  const needed = new NeededBlobs(store, inventory.table, places, { signal });
  await needed.read();
  await inventory.read(store, signal);
  // An export that has ended during the listing.
  await needed.read();
  if (options.force !== true) needed.refuseNone();
  const dead = await deadUploads(store, places, cutoff, signal);
  const sweep = { cutoff, atOnce: grace === 0, marks: isMarking && grace > 0, dryRun, signal };
  const swept = await new Sweep(store, keys, inventory, needed, sweep).run();
  if (!dryRun) for (const upload of dead.uploads) await store.cleaning.abort?.(upload, signal);
  const retention = await store.cleaning.retention(signal);
  const unnamed = needed
    .withoutNames()
    .map((prefix) => `there is no cache under ${store.nameOf(prefix)}: is --manifests-prefix spelt right?`);
  return {
    removed: swept.removed,
    setAside: swept.quarantined,
    putBack: swept.restored,
    young: swept.young,
    leftovers: { count: 0, bytes: 0 },
    live: swept.live,
    tags: needed.usage((row) => inventory.blobs.sizeAt(row)),
    paths: swept.paths,
    quarantine: isMarking ? 'mark' : 'copy',
    abortedUploads: dead.uploads.length,
    refused: swept.refused.map(({ key, reason }) => ({ path: store.nameOf(key), reason })),
    notes: [...unnamed, ...retention, ...(dead.note === undefined ? [] : [dead.note])],
  };
}

/** @throws CacheError USAGE for options with which blobs would be lost */
function refuseUnsafe(
  store: ObjectStore,
  keys: BucketKeys,
  { manifests = [], quarantine, grace }: GcOptions & { readonly grace: number },
): void {
  if (manifests.length === 0) {
    throw new CacheError('USAGE', 'gc of a bucket has to be told of all names that use its blobs', {
      hint: `name each manifests_prefix that has caches over ${store.nameOf(keys.blobs)}: --manifests-prefix manifests/`,
    });
  }
  if (grace > 0 && grace <= TOUCH_REFRESH) {
    throw new CacheError(
      'USAGE',
      'the grace for a bucket has to be longer than touch_refresh, which is 24h by default',
      {
        hint: 'an export relies on younger blobs without touching them; 0 is for times without exports',
      },
    );
  }
  if (quarantine === 'mark' && store.touch === undefined) {
    throw new CacheError('USAGE', 'marks are no quarantine here: exports rely on old blobs without touching them', {
      hint: 'leave --quarantine mark out: only a copy can be restored; or use --grace 0 at a time without exports',
    });
  }
}

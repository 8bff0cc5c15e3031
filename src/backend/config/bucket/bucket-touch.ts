import { parallel } from '../../../bytes/parallel.js';
import type { TouchOptions, TouchResult } from '../../cache-store.js';
import { Inventory } from './bucket-inventory.js';
import { blobKey, type BucketKeys, TOUCH_REFRESH } from './bucket-keys.js';
import { CONCURRENCY } from './bucket-source.js';
import { NeededBlobs } from './needed-blobs.js';
import type { ObjectStore, StoredObject } from './object-store.js';

/**
 * Makes the blobs young that names need, so that a rule of the bucket for old objects leaves them alone: exports touch
 * what they need (not in Azure), and imports touch nothing. Ages come from a listing, so that a young blob takes no request.
 * A name that cannot be read says nothing of its blobs, and does not keep others from being touched.
 *
 * @throws CacheError for a listing that is not whole
 */
export async function touchBucket(store: ObjectStore, keys: BucketKeys, options: TouchOptions): Promise<TouchResult> {
  const { olderThan = TOUCH_REFRESH, names = false, dryRun = false, signal } = options;
  const inventory = new Inventory(keys);
  await inventory.read(store, signal);
  const { table, blobs } = inventory;
  const unread: { name: string; reason: string }[] = [];
  const needed = new NeededBlobs(store, table, [keys], {
    signal,
    onUnread: (name, { message }) => void unread.push({ name, reason: message }),
  });
  await needed.read();
  const cutoff = Date.now() - olderThan;
  const missing: string[] = [];
  const old: StoredObject[] = [];
  const young = { count: 0, bytes: 0 };
  for (let row = 0; row < table.size; row++) {
    if (!needed.has(row)) continue;
    if (!blobs.has(row) && needed.isLayer(row)) missing.push(store.nameOf(blobKey(keys, table.at(row))));
    if (!blobs.has(row)) continue;
    if (blobs.dateAt(row) < cutoff) old.push(blobs.at(row));
    else {
      young.count++;
      young.bytes += blobs.sizeAt(row);
    }
  }
  const touched = { count: 0, bytes: 0 };
  const refused: string[] = [];
  const touch = async (object: StoredObject, inner: AbortSignal) => {
    if (!dryRun && !(await store.cleaning.refresh(object, inner))) {
      refused.push(store.nameOf(object.key));
      return false;
    }
    return true;
  };
  await parallel(old, CONCURRENCY, signal, async (object, inner) => {
    if (!(await touch(object, inner))) return;
    touched.count++;
    touched.bytes += object.size;
  });
  let touchedNames = 0;
  // A name must not outlive a blob that it needs.
  if (names && refused.length === 0) {
    const oldNames = needed.objects().filter(({ modified }) => modified < cutoff);
    await parallel(oldNames, CONCURRENCY, signal, async (object, inner) => {
      if (await touch(object, inner)) touchedNames++;
    });
  }
  return { touched, young, names: touchedNames, missing, refused, unread };
}

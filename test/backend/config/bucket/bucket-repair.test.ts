import test from 'ava';
import { bucketRepair } from '../../../../src/backend/config/bucket/bucket-repair.js';
import { blobKey, s3Keys } from '../../../../src/backend/config/bucket/bucket-keys.js';
import { randomBlob } from '../../../support/layers.js';
import { MemoryStore } from '../../../support/object-store.js';

test('a damaged blob is deleted, unless an export has replaced it since it was read', async (t) => {
  const keys = s3Keys({ type: 's3', attributes: {} });
  for (const isReplaced of [false, true]) {
    const store = new MemoryStore();
    const { blob, bytes } = randomBlob(100);
    const key = blobKey(keys, blob.digest);
    store.set(key, Buffer.alloc(100), 1000);
    await using repair = bucketRepair(store, keys);
    t.false(await repair.isWhole(blob.digest));
    if (isReplaced) store.set(key, bytes, 2000);
    await repair.quarantine(blob.digest);
    t.is(store.objects.has(key), isReplaced);
  }
});

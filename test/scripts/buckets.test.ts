import test from 'ava';
import { s3Keys } from '../../src/backend/config/bucket/bucket-keys.js';
import { bucketStore } from '../../src/backend/config/bucket/bucket-store.js';
import { touchBucket } from '../../src/backend/config/bucket/bucket-touch.js';
import { countedStore } from '../../src/backend/config/bucket/counted-store.js';
import { verifyStore } from '../../src/operations/verify/verify.js';
import { SimulatedBucket } from '../../scripts/bench/simulated-bucket.js';

const KEYS = s3Keys({ type: 's3', attributes: {} });

for (const [blobs, manifests] of [
  [3000, 30],
  [12_000, 1200],
] as const) {
  const pages = (count: number) => Math.ceil(count / 1000);
  const bucket = () => new SimulatedBucket({ blobs, manifests, layers: 20 });

  test(`a bucket of ${blobs} blobs takes no request for a blob that is needed`, async (t) => {
    await using store = bucketStore(bucket(), s3Keys, { type: 's3', attributes: {} });
    t.like(await verifyStore(store, 'bucket', {}), { sound: true, blobs: blobs + manifests });
    const read = { list: pages(blobs) + pages(manifests), get: manifests, head: 0, put: 0, copy: 0, delete: 0 };
    t.deepEqual(store.requests, read);
    const service = countedStore(bucket());
    const { young } = await touchBucket(service, KEYS, {});
    t.true(young.count > 0);
    t.deepEqual(service.requests, read);
    await using other = bucketStore(bucket(), s3Keys, { type: 's3', attributes: {} });
    const garbage = blobs / 10;
    t.is((await other.gc?.({ manifests: ['manifests/'] }))?.setAside.count, garbage);
    t.like(other.requests, { get: manifests + 2, copy: garbage, head: 2 * garbage + 1, delete: garbage + 1, put: 1 });
    t.is(other.requests?.list, pages(blobs) + (3 + pages(garbage)) * pages(manifests));
  });
}

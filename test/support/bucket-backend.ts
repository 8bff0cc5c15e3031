import type { Backend, CacheSource, CacheTarget, Location } from '../../src/backend/backend.js';
import type { CacheStore } from '../../src/backend/cache-store.js';
import { s3Keys } from '../../src/backend/config/bucket/bucket-keys.js';
import { bucketSource } from '../../src/backend/config/bucket/bucket-source.js';
import { bucketStore } from '../../src/backend/config/bucket/bucket-store.js';
import { BucketTarget } from '../../src/backend/config/bucket/bucket-target.js';
import { MemoryStore } from './object-store.js';

/** type=s3 whose buckets are in memory: what a bucket is like from the keys up. */
export class BucketBackend implements Backend {
  readonly buckets = new Map<string, MemoryStore>();

  locate(options: Location['options']): Promise<Location> {
    const { bucket = '' } = options.attributes;
    const selection = s3Keys(options).names.join(';');
    return Promise.resolve({ options, name: bucket, selection, key: `${bucket}, name ${selection}` });
  }

  source({ name, options }: Location): Promise<CacheSource> {
    return Promise.resolve(bucketSource(this.bucket(name), s3Keys(options)));
  }

  target({ name, options }: Location): Promise<CacheTarget> {
    return Promise.resolve(
      new BucketTarget(this.bucket(name), s3Keys(options), { name, uploads: 4, touchRefresh: 86_400_000 }),
    );
  }

  store({ name, options }: Location): Promise<CacheStore> {
    return Promise.resolve(bucketStore(this.bucket(name), s3Keys, options));
  }

  bucket(name: string): MemoryStore {
    const bucket = this.buckets.get(name) ?? new MemoryStore();
    this.buckets.set(name, bucket);
    return bucket;
  }
}

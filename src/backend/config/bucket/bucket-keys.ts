import type { CacheOptions } from '../../../buildkit/options.js';
import type { Digest } from '../../../oci/digest.js';

/** Where the objects of a cache are in a bucket. */
export interface BucketKeys {
  /** The names of the cache: an import reads the first, an export writes all. */
  readonly names: readonly string[];
  /** What the keys of all blobs, and of all manifests, start with. */
  readonly blobs: string;
  readonly manifests: string;
}

/** The keys of type=s3: plain concatenation, with the defaults of cache/remotecache/s3/s3.go, getConfig. */
export function s3Keys({ attributes }: CacheOptions): BucketKeys {
  const { prefix = '', blobs_prefix: blobs = 'blobs/', manifests_prefix: manifests = 'manifests/' } = attributes;
  const { name = 'buildkit' } = attributes;
  return { names: name.split(';'), blobs: `${prefix}${blobs}`, manifests: `${prefix}${manifests}` };
}

export function blobKey({ blobs }: BucketKeys, digest: Digest): string {
  return `${blobs}${digest}`;
}

export function manifestKey({ manifests }: BucketKeys, name: string): string {
  return `${manifests}${name}`;
}

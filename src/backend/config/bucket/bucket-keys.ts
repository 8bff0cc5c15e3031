import { posix } from 'node:path';
import type { CacheOptions } from '../../../buildkit/options.js';
import { CacheError } from '../../../errors.js';
import type { Digest } from '../../../oci/digest.js';

/** Where the objects of a cache are in a bucket. */
export interface BucketKeys {
  /** The names of the cache: an export writes all. */
  readonly names: readonly string[];
  /** Which of the names an import reads. */
  readonly reads: 'first' | 'all';
  /** What the keys of all blobs, and of all manifests, start with. */
  readonly blobs: string;
  readonly manifests: string;
  /** The key of each name that is not plainly what all start with and the name. */
  readonly cleaned?: ReadonlyMap<string, string>;
}

/**
 * How old a blob may be before a cache that names it is written, unless an export says otherwise; in milliseconds. An older
 * blob is touched first: cache/remotecache/s3/s3.go, getConfig and Finalize.
 */
export const TOUCH_REFRESH = 24 * 3_600_000;

/** The keys of type=s3: plain concatenation, with the defaults of cache/remotecache/s3/s3.go, getConfig. */
export function s3Keys({ attributes }: CacheOptions): BucketKeys {
  const { prefix = '', blobs_prefix: blobs = 'blobs/', manifests_prefix: manifests = 'manifests/' } = attributes;
  const { name = 'buildkit' } = attributes;
  return { names: name.split(';'), reads: 'first', blobs: `${prefix}${blobs}`, manifests: `${prefix}${manifests}` };
}

/**
 * The keys of type=azblob: joined as paths, with the defaults of cache/remotecache/azblob/utils.go, getConfig, blobKey and
 * manifestKey.
 *
 * @throws CacheError USAGE for a name whose key is none
 */
export function azblobKeys({ attributes }: CacheOptions): BucketKeys {
  const { prefix = '', blobs_prefix: blobs = 'blobs', manifests_prefix: manifests = 'manifests' } = attributes;
  const { name = 'buildkit' } = attributes;
  const names = name.split(';');
  const cleaned = new Map(names.map((one) => [one, joinedPath(prefix, manifests, one)]));
  const wrong = names.find((one) => /^(?:\.{0,2}|\/)$/.test(cleaned.get(one) ?? ''));
  if (wrong !== undefined) {
    throw new CacheError(
      'USAGE',
      `name=${wrong} with prefix=${prefix} and manifests_prefix=${manifests} names no blob`,
      {
        hint: 'the three are joined as a path, in which ".." leaves a folder',
      },
    );
  }
  return { names, reads: 'all', blobs: folderOf(prefix, blobs), manifests: folderOf(prefix, manifests), cleaned };
}

/** The keys of bkcache's own objects. BuildKit reads none of them, and none is a name. */
export function privateKeys({ blobs }: BucketKeys): {
  readonly all: string;
  readonly clock: string;
  readonly quarantine: string;
  readonly marks: string;
} {
  const all = `${blobs}.bkcache/`;
  return { all, clock: `${all}clock`, quarantine: `${all}quarantine/`, marks: `${all}marks/` };
}

export function blobKey({ blobs }: BucketKeys, digest: Digest): string {
  return `${blobs}${digest}`;
}

export function manifestKey({ manifests, cleaned }: BucketKeys, name: string): string {
  return cleaned?.get(name) ?? `${manifests}${name}`;
}

/** What the paths of a folder's files start with. */
function folderOf(...parts: string[]): string {
  const path = joinedPath(...parts);
  return path === '' || path === '.' ? '' : path.endsWith('/') ? path : `${path}/`;
}

/** Joins paths as Go's filepath.Join does: empty ones go, and `//`, `.`, `..` and a slash at the end are resolved. */
export function joinedPath(...parts: string[]): string {
  if (parts.every((part) => part === '')) return '';
  const path = posix.join(...parts);
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
}

/** The options with the name of a cache, where they have none. */
export function withName(options: CacheOptions, name: string): CacheOptions {
  const { attributes } = options;
  return attributes['name'] === undefined ? { ...options, attributes: { ...attributes, name } } : options;
}

import { type Digest, isDigest } from '../../../oci/digest.js';
import type { StoredBlob } from '../../cache-store.js';
import { type BucketKeys, privateKeys } from './bucket-keys.js';
import type { ObjectStore, StoredObject } from './object-store.js';

/** An object that a name stands for. */
export interface NamedObject {
  readonly name: string;
  readonly object: StoredObject;
}

/**
 * The names in a bucket, by a listing of what starts with `manifests_prefix`.
 *
 * @returns pages, as the service gives them
 * @throws CacheError for a listing that is not whole
 */
export async function* listNames(
  store: ObjectStore,
  keys: BucketKeys,
  signal: AbortSignal | undefined,
): AsyncGenerator<readonly NamedObject[], void, undefined> {
  for await (const page of store.list(keys.manifests, signal)) {
    yield page.flatMap((object) => {
      const name = nameIn(keys, object);
      return name === undefined ? [] : { name, object };
    });
  }
}

/**
 * The blobs in a bucket, by a listing of what starts with `blobs_prefix`, and what else stands among them.
 *
 * @throws CacheError for a listing that is not whole
 */
export async function* listBlobs(
  store: ObjectStore,
  keys: BucketKeys,
  signal: AbortSignal | undefined,
): AsyncGenerator<StoredBlob, void, undefined> {
  for await (const page of store.list(keys.blobs, signal)) {
    for (const object of page) {
      const { key, size } = object;
      const digest = digestIn(keys, key);
      if (digest === undefined && !isStray(keys, object)) continue;
      yield { digest, size, at: store.nameOf(key) };
    }
  }
}

/** The blob that a key stands for. */
function digestIn({ blobs }: BucketKeys, key: string): Digest | undefined {
  const rest = key.startsWith(blobs) ? key.slice(blobs.length) : undefined;
  return isDigest(rest) ? rest : undefined;
}

/** The name that a key stands for. Both prefixes may be one, and one may start with the other: then blobs are no names. */
function nameIn(keys: BucketKeys, object: StoredObject): string | undefined {
  const { key } = object;
  if (!key.startsWith(keys.manifests) || digestIn(keys, key) !== undefined || isFolder(object)) return undefined;
  if (key.startsWith(privateKeys(keys).all)) return undefined;
  return key.slice(keys.manifests.length);
}

/** Whether an object among the blobs is none of the objects that belong there or to others: a blob has no `/` in its name. */
function isStray(keys: BucketKeys, object: StoredObject): boolean {
  const isDeeper = object.key.slice(keys.blobs.length).includes('/');
  return !isDeeper && !isFolder(object) && nameIn(keys, object) === undefined;
}

/** The object of no bytes that consoles write for a folder. */
function isFolder({ key, size }: StoredObject): boolean {
  return size === 0 && (key === '' || key.endsWith('/'));
}

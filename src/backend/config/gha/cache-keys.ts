import { createHash } from 'node:crypto';
import { type Digest, isDigest } from '../../../oci/digest.js';

// The keys of BuildKit's entries: cache/remotecache/gha/gha.go, blobKey and indexKey.

/** What BuildKit says as the version of all its entries: a part of every look-up. */
export const ENTRY_VERSION = createHash('sha256').update('|go-actionscache-1.0').digest('hex');

export const BLOB_PREFIX = 'buildkit-blob-1-';
const INDEX_PREFIX = 'index-';

/** What a blob's key ends with where the first key is reserved for an upload that never ends. Look-ups go by the beginning. */
const AGAIN = '-again';
const SIGNATURE = '-sig';
/** How much of the hash of a scope a key has, in hex digits. */
const HASH_LENGTH = 8;

export function blobKey(digest: Digest): string {
  return `${BLOB_PREFIX}${digest}`;
}

/** The key for a further attempt to store a blob. */
export function blobKeyAgain(digest: Digest, attempt: number): string {
  return `${blobKey(digest)}${AGAIN}${attempt}`;
}

/** The blob that an entry holds; undefined for an entry of another kind. */
export function blobIn(key: string): Digest | undefined {
  if (!key.startsWith(BLOB_PREFIX)) return undefined;
  const digest = key.slice(BLOB_PREFIX.length).replace(/-again\d+$/, '');
  return isDigest(digest) ? digest : undefined;
}

/** The index whose signature an entry holds: the digest of its bytes. */
export function signedBy(key: string): Digest | undefined {
  if (!key.startsWith(BLOB_PREFIX) || !key.endsWith(SIGNATURE)) return undefined;
  const digest = key.slice(BLOB_PREFIX.length, -SIGNATURE.length);
  return isDigest(digest) ? digest : undefined;
}

/**
 * What the key of an index begins with, up to its number. Without the `#`, a look-up may find the index of a signed cache.
 *
 * @param name - the option scope=
 * @param ref - the scope of GitHub, such as `refs/heads/main`
 */
export function indexKey(name: string, ref: string, { isSigned = false } = {}): string {
  return `${INDEX_PREFIX}${name}-1-${hashOf(ref)}${isSigned ? SIGNATURE : ''}#`;
}

/** An index as its key tells it. */
export interface IndexKey {
  readonly name: string;
  /** The first digits of the hash of its scope of GitHub. */
  readonly hash: string;
  readonly isSigned: boolean;
  readonly number: number;
}

export function indexIn(key: string): IndexKey | undefined {
  const [, name, hash, signature, number] = /^index-(.*)-1-([\da-f]{8})(-sig)?#(\d+)$/s.exec(key) ?? [];
  if (name === undefined || hash === undefined) return undefined;
  return { name, hash, isSigned: signature !== undefined, number: Number(number) };
}

/** The number in the key of an index; undefined for a key that begins otherwise. */
export function numberIn(key: string, prefix: string): number | undefined {
  const number = key.startsWith(prefix) ? key.slice(prefix.length) : '';
  return /^\d{1,15}$/.test(number) ? Number(number) : undefined;
}

export function hashOf(ref: string): string {
  return createHash('sha256').update(ref).digest('hex').slice(0, HASH_LENGTH);
}

import { blobIn, ENTRY_VERSION, hashOf, indexIn, indexKey, signedBy } from '../../backend/config/gha/cache-keys.js';
import type { Digest } from '../../oci/digest.js';

/** What a key of an entry is to this server. */
export type EntryKind =
  /** A layer of a cache of BuildKit: a blob of the store. */
  | { readonly kind: 'blob'; readonly digest: Digest }
  /** A cache of BuildKit: a cache of the store under a name. */
  | { readonly kind: 'index'; readonly name: string; readonly number: number }
  /** Anything else, such as an archive of actions/cache. */
  | { readonly kind: 'other' };

/** @param ref - the scope of GitHub in which the key is written */
export function kindOf(key: string, version: string, ref: string): EntryKind {
  if (version !== ENTRY_VERSION) return { kind: 'other' };
  const digest = signedBy(key) === undefined ? blobIn(key) : undefined;
  if (digest !== undefined) return { kind: 'blob', digest };
  const index = indexIn(key);
  // The index of a signed cache is signed with its key: it stays as it is.
  if (index === undefined || index.isSigned || index.hash !== hashOf(ref)) return { kind: 'other' };
  return { kind: 'index', name: index.name, number: index.number };
}

/** The key of a cache, as BuildKit writes it. */
export function keyOf({ name, ref, number }: { readonly name: string; readonly ref: string; readonly number: number }) {
  return `${indexKey(name, ref)}${number}`;
}

/**
 * The name in the store of a cache of BuildKit. No other cache has it: a slash in its own name is written as %2F, since
 * branches may be called anything.
 */
export function storeName(name: string, ref: string): string {
  return `gha/${name.replaceAll('%', '%25').replaceAll('/', '%2F')}/${ref}`;
}

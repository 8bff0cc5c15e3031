import type { Cache } from './backend.js';
import type { Graph } from '../graph/graph.js';
import { merge } from '../graph/merge.js';
import type { BlobId } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { topOf } from '../oci/document.js';

/** Several caches as one. The same cache given twice counts once, and its blobs may be read from each of its copies. */
export async function mergeCaches(caches: readonly Cache[], signal: AbortSignal | undefined): Promise<Cache> {
  const [only, ...others] = caches;
  if (only !== undefined && others.length === 0) return only;
  const unique = [...new Map(caches.map((cache) => [identityOf(cache), cache])).values()];
  const owners = ownersOf(caches);
  const copies = (blob: BlobId) => (owners.get(blob.digest) ?? []).map((cache) => cache.blob(blob));
  return {
    ...(unique.length === 1 ? unique[0] : {}),
    name: [...new Set(caches.map(({ name }) => name))].join(' + '),
    concurrency: caches.reduce((most, { concurrency = 1 }) => Math.max(most, concurrency), 1),
    graph: merge(await graphsOf(unique, signal)),
    blob(blob) {
      const [first] = copies(blob);
      if (first === undefined) throw new RangeError(`no import has ${blob.digest}`);
      return first;
    },
    fallbacks: (blob) => copies(blob).slice(1),
  };
}

/** The caches that have each blob, in the order of the caches. */
function ownersOf(caches: readonly Cache[]): ReadonlyMap<Digest, readonly Cache[]> {
  const owners = new Map<Digest, Cache[]>();
  for (const cache of caches) {
    for (const digest of cache.graph.descriptors.keys()) {
      const known = owners.get(digest);
      if (known === undefined) owners.set(digest, [cache]);
      else known.push(cache);
    }
  }
  return owners;
}

async function graphsOf(caches: readonly Cache[], signal: AbortSignal | undefined): Promise<Graph[]> {
  if (caches.length === 1) return caches.map(({ graph }) => graph);
  // Loads all codecs.
  const { agreedGraphs } = await import('./agreement.js');
  return agreedGraphs(caches, signal);
}

/** The digest of what names a cache; a cache without documents is only the same as itself. */
function identityOf(cache: Cache): Digest | Cache {
  return cache.saved === undefined ? cache : topOf(cache.saved.documents).descriptor.digest;
}

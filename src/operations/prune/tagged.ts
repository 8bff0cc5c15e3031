import { allRead, type CacheStore, type StoreEntry } from '../../backend/cache-store.js';
import type { Cache } from '../../backend/backend.js';
import { loadInlineCache } from '../../backend/inline/inline-source.js';
import { loadBareCache } from '../../backend/load-entry.js';
import { cacheIn } from '../../backend/repository/load-cache.js';
import { readManifest } from '../../backend/repository/manifest.js';
import { CacheError } from '../../errors.js';
import type { Graph } from '../../graph/graph.js';
import type { SavedCache } from '../../graph/save.js';
import { CREATED_AT } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { isImageType } from '../../oci/media-types.js';
import { contentsOf } from '../../oci/successors.js';
import type { BlobSizes, WrittenGraph } from './budget.js';
import type { TagUse } from './policy.js';

/** An entry of a place, what it is, and when it was last used. */
export interface Tagged extends TagUse {
  readonly entry: StoreEntry;
  /** Undefined for images, cache or not, and for other things: nothing can be evicted from those. */
  readonly cache: WrittenGraph | undefined;
  /** All that it reaches. */
  readonly needs: BlobSizes;
  /** What says when it was last used. */
  readonly lastUsedBy: UseSource;
}

/**
 * What can say when a cache was last used; the latest counts. `recorded`: the place itself, as index.json of a store.
 * `file`: the time of its document, which is when it was written, or used in a place that records nothing. `created`: when
 * its newest result or layer was made.
 */
export type UseSource = 'recorded' | 'file' | 'created';

/** What the document of an entry takes that is no blob of its place, and nothing for a blob that is not there. */
function sizeOf({ entry: { descriptor, isBare = false } }: Pick<Tagged, 'entry'>, digest: Digest): number {
  return isBare && descriptor.digest === digest ? descriptor.size : 0;
}

/** A place that can say what its entries need. */
type Store = CacheStore & Required<Pick<CacheStore, 'needs'>>;

/**
 * Reads what a place has under its names.
 *
 * @param sizes - of the blobs that are there
 * @throws CacheError CORRUPT when a cache among it, or what should be a manifest, cannot be read
 */
export async function readTagged(store: Store, sizes: BlobSizes, signal: AbortSignal | undefined): Promise<Tagged[]> {
  const entries = allRead(await store.entries(signal));
  const read: Omit<Tagged, 'needs'>[] = [];
  for (const entry of entries) {
    const { graph, saved } = (await cacheOf(store, entry, signal)) ?? {};
    const written = await store.writtenAt?.(entry);
    const use = latest({ recorded: entry.lastUsed, file: written, created: graph && newest(graph) });
    read.push({ entry, names: entry.names, cache: graph && saved && { graph, saved: withoutBytes(saved) }, ...use });
  }
  const needs = await readNeeds(store, entries, signal);
  return read.map((one, at) => ({
    ...one,
    needs: new Map(Array.from(needs[at] ?? [], (digest) => [digest, sizes.get(digest) ?? sizeOf(one, digest)])),
  }));
}

/** The bytes of all documents of a place would take a lot of memory, and are not needed again. */
function withoutBytes({ documents, ...saved }: SavedCache): WrittenGraph['saved'] {
  return { ...saved, documents: documents.map(({ descriptor }) => ({ descriptor })) };
}

async function readNeeds(store: Store, entries: readonly StoreEntry[], signal: AbortSignal | undefined) {
  try {
    return await store.needs(entries, signal);
  } catch (error) {
    if (!(error instanceof CacheError) || signal?.aborted === true) throw error;
    throw new CacheError('CORRUPT', `nothing was changed: ${error.message}`, {
      hint: '"bkcache verify" says what is wrong, and "bkcache repair" mends it',
      cause: error,
    });
  }
}

/**
 * What is known of an entry: a cache, or that in an image. Nothing has to be known of what is no cache: entries may be of
 * any media type, and images may be there in part.
 */
async function cacheOf(
  store: CacheStore,
  { descriptor, isBare = false }: StoreEntry,
  signal: AbortSignal | undefined,
): Promise<Pick<Cache, 'graph' | 'saved'> | undefined> {
  if (isBare) return loadBareCache(store, descriptor, signal);
  if (!isImageType(descriptor.mediaType)) return undefined;
  const manifest = await readManifest(store, descriptor, signal);
  if (contentsOf(manifest.content).kind === 'cache') return cacheIn(store, manifest, signal);
  try {
    return await loadInlineCache(store, manifest, signal);
  } catch (error) {
    if (!(error instanceof CacheError) || signal?.aborted === true) throw error;
    return undefined;
  }
}

/** When the newest result or layer of a cache was made; undefined when nothing says so. */
function newest({ records, descriptors }: Graph): number | undefined {
  let time = 0;
  const look = (createdAt: string | undefined) => {
    const made = Date.parse(createdAt ?? '');
    if (made > time) time = made;
  };
  for (const { results, chains } of records) {
    for (const { createdAt } of results) look(createdAt);
    for (const { createdAt } of chains) look(createdAt);
  }
  for (const { annotations } of descriptors.values()) look(annotations?.[CREATED_AT]);
  return time > 0 ? time : undefined;
}

function latest(times: Readonly<Record<UseSource, number | undefined>>): Pick<Tagged, 'lastUsed' | 'lastUsedBy'> {
  let use: Pick<Tagged, 'lastUsed' | 'lastUsedBy'> = { lastUsed: 0, lastUsedBy: 'file' };
  for (const source of ['recorded', 'file', 'created'] as const) {
    const time = times[source];
    if (time !== undefined && time > use.lastUsed) use = { lastUsed: time, lastUsedBy: source };
  }
  return use;
}

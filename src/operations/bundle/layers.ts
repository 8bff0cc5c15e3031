import type { CacheStore, StoreEntry } from '../../backend/cache-store.js';
import { allRead } from '../../backend/cache-store.js';
import { loadEntry } from '../../backend/load-entry.js';
import { treeOf } from '../../backend/bundle/tree.js';
import type { OnNote } from '../../buildkit/options.js';
import { CacheError } from '../../errors.js';
import { decodeImageConfig } from '../../oci/image.js';
import { type Descriptor, UNCOMPRESSED } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';

/** Layers of a place, by their digests; each says the digest of the uncompressed layer, where a document of the place does. */
export type Layers = ReadonlyMap<Digest, Descriptor>;

/**
 * The layers of the caches and images of a place that are there.
 *
 * @param entries - some of the place; undefined for all, of which one that cannot be read is left out with a note
 */
export async function layersOf(
  store: CacheStore,
  entries: readonly StoreEntry[] | undefined,
  { signal, onNote }: { readonly signal?: AbortSignal | undefined; readonly onNote?: OnNote | undefined },
): Promise<Layers> {
  const found = new Map<Digest, Descriptor>();
  for (const entry of entries ?? allRead(await store.entries(signal))) {
    try {
      for (const layer of await layersOfEntry(store, entry, signal)) found.set(layer.digest, layer);
    } catch (error) {
      const isUnread = error instanceof CacheError && (error.code === 'CORRUPT' || error.code === 'NOT_FOUND');
      if (entries !== undefined || !isUnread) throw error;
      onNote?.(`${entry.names[0] ?? entry.descriptor.digest} is left out, since it cannot be read: ${error.message}`);
    }
  }
  const sizes = await sizesIn(store, signal);
  if (sizes === undefined) return found;
  return new Map([...found].filter(([digest, { size }]) => sizes.get(digest) === size));
}

async function layersOfEntry(
  store: CacheStore,
  entry: StoreEntry,
  signal: AbortSignal | undefined,
): Promise<readonly Descriptor[]> {
  if (entry.isBare === true) return [...(await loadEntry(store, entry, signal)).graph.descriptors.values()];
  const { layers, images } = await treeOf(store, [entry.descriptor], signal);
  const tars = new Map<Digest, Digest>();
  for (const { config, layers: ofImage } of images) {
    const { diffIDs } = decodeImageConfig(config.bytes, `${store.name}: ${config.descriptor.digest}`);
    for (const [at, diffID] of diffIDs.entries()) {
      const layer = ofImage[at];
      if (layer !== undefined) tars.set(layer.digest, diffID);
    }
  }
  return layers.map((layer) => {
    const diffID = layer.annotations?.[UNCOMPRESSED] ?? tars.get(layer.digest);
    return diffID === undefined ? layer : { ...layer, annotations: { ...layer.annotations, [UNCOMPRESSED]: diffID } };
  });
}

/** The blobs that are in a place, where it can list them. */
async function sizesIn(store: CacheStore, signal: AbortSignal | undefined): Promise<Map<Digest, number> | undefined> {
  if (store.blobs === undefined) return undefined;
  const sizes = new Map<Digest, number>();
  for await (const { digest, size, other } of store.blobs(signal)) {
    if (digest !== undefined && other === undefined) sizes.set(digest, size);
  }
  return sizes;
}

import { loadBare } from '../graph/bare.js';
import { readDocument } from '../oci/content.js';
import type { Descriptor } from '../oci/descriptor.js';
import { JSON_LIMIT } from '../oci/json.js';
import type { Cache } from './backend.js';
import type { StoreEntry } from './cache-store.js';
import { loadCache } from './repository/load-cache.js';
import type { DocumentReader } from './repository/repository.js';

/**
 * The cache that an entry of a place names, or that is inside the image which it names.
 *
 * @throws CacheError NOT_FOUND when there is none, CORRUPT
 */
export function loadEntry(
  reader: DocumentReader,
  { descriptor, isBare }: Pick<StoreEntry, 'descriptor' | 'isBare'>,
  signal?: AbortSignal,
): Promise<Cache> {
  return isBare === true ? loadBareCache(reader, descriptor, signal) : loadCache(reader, descriptor, signal);
}

/**
 * A cache without a manifest.
 *
 * @param descriptor - of its cacheconfig
 * @throws CacheError CORRUPT
 */
export async function loadBareCache(
  reader: DocumentReader,
  descriptor: Descriptor,
  signal?: AbortSignal,
): Promise<Cache> {
  const { name, concurrency } = reader;
  const bytes = await readDocument(reader.manifest(descriptor), descriptor.digest, name, { limit: JSON_LIMIT, signal });
  return {
    name,
    concurrency,
    graph: loadBare(bytes, `${name}: ${descriptor.digest}`),
    saved: { documents: [{ descriptor, bytes }], shape: undefined },
    blob: (blob) => reader.blob(blob),
  };
}

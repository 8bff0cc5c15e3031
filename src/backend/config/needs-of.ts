import { decodeCacheConfig } from '../../buildkit/cache-config.js';
import { readDocument } from '../../oci/content.js';
import type { Digest } from '../../oci/digest.js';
import { JSON_LIMIT } from '../../oci/json.js';
import type { StoreEntry } from '../cache-store.js';
import type { DocumentReader } from '../repository/repository.js';

/**
 * The blobs of the layers that each entry names, and its document.
 *
 * @throws CacheError CORRUPT for a document that is no cacheconfig
 */
export async function needsOf(
  reader: DocumentReader,
  entries: readonly StoreEntry[],
  signal: AbortSignal | undefined,
): Promise<readonly ReadonlySet<Digest>[]> {
  const needs: ReadonlySet<Digest>[] = [];
  for (const { descriptor } of entries) {
    const { digest } = descriptor;
    const bytes = await readDocument(reader.manifest(descriptor), digest, reader.name, { limit: JSON_LIMIT, signal });
    needs.push(new Set([digest, ...decodeCacheConfig(bytes, digest).layers.map(({ blob }) => blob)]));
  }
  return needs;
}

import { CacheError } from '../errors.js';
import type { Content } from '../oci/content.js';
import type { BlobId } from '../oci/descriptor.js';
import type { Cache } from './backend.js';

/** Where the bytes of a blob may be read, in the order in which that is to be tried. */
export function placesOf(cache: Cache, blob: BlobId): readonly Content[] {
  return [cache.blob(blob), ...(cache.elsewhere?.(blob) ?? [])];
}

/**
 * Does something with the bytes of a blob. Where they are missing or damaged, it is done anew with those of the next
 * place.
 *
 * @throws CacheError CORRUPT of the first place, when there is no good one; any other error at once
 */
export async function withPlaces<T>(places: readonly Content[], task: (content: Content) => Promise<T>): Promise<T> {
  let first: unknown;
  for (const content of places) {
    try {
      return await task(content);
    } catch (error) {
      if (!(error instanceof CacheError) || error.code !== 'CORRUPT') throw error;
      first ??= error;
    }
  }
  throw first;
}

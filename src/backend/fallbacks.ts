import { CacheError } from '../errors.js';
import type { Content } from '../oci/content.js';
import type { BlobId } from '../oci/descriptor.js';
import type { Cache } from './backend.js';

/** The copies of a blob that a cache has, in the order of the attempts. */
export function copiesOf(cache: Cache, blob: BlobId): readonly Content[] {
  return [cache.blob(blob), ...(cache.fallbacks?.(blob) ?? [])];
}

/**
 * Does a task with the bytes of a blob. Where a copy is missing or damaged, the task is repeated with the next one.
 *
 * @throws CacheError CORRUPT of the first copy, when none is good; any other error at once
 */
export async function withFallbacks<T>(copies: readonly Content[], task: (content: Content) => Promise<T>): Promise<T> {
  let first: unknown;
  for (const content of copies) {
    try {
      return await task(content);
    } catch (error) {
      if (!(error instanceof CacheError) || error.code !== 'CORRUPT') throw error;
      first ??= error;
    }
  }
  throw first;
}

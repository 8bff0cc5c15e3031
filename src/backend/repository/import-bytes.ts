import { CacheError } from '../../errors.js';
import type { Content } from '../../oci/content.js';

/** Where bytes that are being written come from, for messages; undefined where they are made on the way. */
export function sourceOf({ path, place, origin, object }: Content): string | undefined {
  return path ?? place ?? (origin && `${origin.registry}/${origin.repository}`) ?? object?.name;
}

/** Writes, and says of bytes that turn out to be others than they should be that they are the import's. */
export async function readingImport<T>(write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    // What was compared on the way is what was read.
    const isRead = error instanceof CacheError && error.wrong !== undefined;
    throw isRead ? error.on('import') : error;
  }
}

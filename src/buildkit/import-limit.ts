import { CacheError } from '../errors.js';

/**
 * The largest manifest and config that BuildKit imports, in bytes (cache/remotecache/import.go, readBlob). BuildKit exports
 * larger documents to folders and registries, and then never imports them.
 */
export const IMPORT_LIMIT = 1 << 20;

/**
 * @throws CacheError FAILED for a document over the limit
 */
export function checkImportLimit(what: 'config' | 'manifest', size: number): void {
  if (size <= IMPORT_LIMIT) return;
  throw new CacheError(
    'FAILED',
    `the cache's ${what} has ${size} bytes, and BuildKit imports none over ${IMPORT_LIMIT}: it would never be used`,
    { hint: 'use mode=min or fewer imports, or --allow-oversize to write it all the same', side: 'export' },
  );
}

import { CacheError } from '../errors.js';

/**
 * The limit on a manifest and on a config, in bytes. BuildKit exports larger ones to folders and registries and then
 * never imports them (cache/remotecache/import.go, readBlob).
 */
export const IMPORT_LIMIT = 1 << 20;

/**
 * @throws CacheError FAILED when BuildKit would refuse to import a document of this size
 */
export function checkImportLimit(what: 'config' | 'manifest', size: number): void {
  if (size <= IMPORT_LIMIT) return;
  throw new CacheError(
    'FAILED',
    `the cache's ${what} has ${size} bytes, and BuildKit imports none over ${IMPORT_LIMIT}: it would never be used`,
    { hint: 'use mode=min or fewer imports, or --allow-oversize to write it all the same', side: 'export' },
  );
}

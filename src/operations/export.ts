import { checkCall } from '../calls.js';
import { formatOptions, parseExport } from '../buildkit/options.js';
import { type CopyOptions, type CopyResult, copyCache } from './copy/copy.js';
import { checkCacheName, expectStore } from './store.js';

/**
 * Copies a cache out of the store.
 *
 * @throws CacheError as `copyCache` does; NOT_FOUND when the store has no such name
 */
export async function exportCache(
  store: string,
  name: string,
  exports: readonly string[],
  options: Omit<CopyOptions, 'imports' | 'exports'> = {},
): Promise<CopyResult> {
  checkCall('exportCache', { store, name, exports, options });
  checkCacheName(name);
  for (const text of exports) parseExport(text);
  await expectStore(store);
  const imports = [formatOptions({ type: 'local', attributes: { src: store, tag: name } })];
  return copyCache({ ...options, imports, exports });
}

import { checkCall } from '../calls.js';
import { formatOptions } from '../buildkit/options.js';
import { abortable } from '../errors.js';
import { markStore, recordUse } from '../layout/index/last-used.js';
import { openLayout } from '../layout/layout.js';
import { Session } from '../session.js';
import { type CopyOptions, type CopyResult, copyCache } from './copy/copy.js';
import { checkCacheName } from './store.js';

/**
 * Keeps caches in the store, as one, under a name. The store is a plain OCI layout, and the name a tag in it: BuildKit
 * imports from it with `type=local,src=STORE,tag=NAME`.
 *
 * @throws CacheError as `copyCache` does; where an import is not there, no store is made
 */
export async function importCache(
  store: string,
  name: string,
  imports: readonly string[],
  options: Omit<CopyOptions, 'imports' | 'exports'> = {},
): Promise<CopyResult> {
  checkCall('importCache', { store, name, imports, options });
  checkCacheName(name);
  const exports = [formatOptions({ type: 'local', attributes: { dest: store, tag: name } })];
  return abortable(options.signal, async () => {
    const result = await copyCache({ ...options, imports, exports });
    await using session = new Session(options);
    await using layout = await openLayout(store, session.layout);
    await markStore(layout);
    const [written] = result.exports;
    if (written !== undefined) await recordUse(layout, written.descriptor, name, options.signal);
    return result;
  });
}

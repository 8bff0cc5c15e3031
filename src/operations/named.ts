import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { checkCall } from '../calls.js';
import { formatOptions, parseExport } from '../buildkit/options.js';
import { type CopyOptions, type CopyResult, copyCache } from './copy/copy.js';
import { abortable, CacheError, isSystemError } from '../errors.js';
import { exists } from '../layout/files/durable.js';
import { updateIndex } from '../layout/index/index-file.js';
import { findTag, type LayoutIndex, tagOf, withoutTag } from '../layout/index/index-json.js';
import { markStore, recordUse } from '../layout/index/last-used.js';
import { type LayoutSettings, openLayout } from '../layout/layout.js';

/**
 * The folder of the store: the one that is named, or `$BKCACHE_STORE`, or `bkcache` in the user's cache folder.
 *
 * @throws CacheError USAGE when nothing is named and the user has no home
 */
export function storePath(named?: string, env: NodeJS.ProcessEnv = process.env): string {
  checkCall('storePath', { named });
  return resolve(named ?? (env['BKCACHE_STORE'] || join(cacheHome(env), 'bkcache')));
}

/** https://specifications.freedesktop.org/basedir-spec: a relative path counts as none. */
function cacheHome({ XDG_CACHE_HOME: named = '', HOME: home }: NodeJS.ProcessEnv): string {
  if (isAbsolute(named)) return named;
  try {
    const found = home ?? homedir();
    if (isAbsolute(found)) return join(found, '.cache');
  } catch (error) {
    // There is no such user in /etc/passwd.
    if (!isSystemError(error)) throw error;
  }
  throw new CacheError('USAGE', 'it is not known where the store is, since this user has no home folder', {
    hint: 'name the folder with --store or in BKCACHE_STORE',
  });
}

type Other = Omit<CopyOptions, 'imports' | 'exports'>;

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
  options: Other = {},
): Promise<CopyResult> {
  checkCall('importCache', { store, name, imports, options });
  checkName(name);
  const exports = [formatOptions({ type: 'local', attributes: { dest: store, tag: name } })];
  return abortable(options.signal, async () => {
    const result = await copyCache({ ...options, imports, exports });
    const layout = await openLayout(store, options.layout);
    try {
      await markStore(layout);
      const [written] = result.exports;
      if (written !== undefined) await recordUse(layout, written.descriptor, name, options.signal);
    } finally {
      await layout.close();
    }
    return result;
  });
}

/**
 * Makes sure that there is a store. A first import that was cut short leaves one without an index.json.
 *
 * @throws CacheError NOT_FOUND
 */
export async function expectStore(store: string): Promise<void> {
  if ((await exists(join(store, 'index.json'))) || (await exists(join(store, 'blobs')))) return;
  throw new CacheError('NOT_FOUND', `there is no store in ${store}`, {
    hint: '"bkcache import NAME --import-cache …" makes one',
  });
}

/**
 * Copies a cache out of the store.
 *
 * @throws CacheError as `copyCache` does; NOT_FOUND when the store has no such name
 */
export async function exportCache(
  store: string,
  name: string,
  exports: readonly string[],
  options: Other = {},
): Promise<CopyResult> {
  checkCall('exportCache', { store, name, exports, options });
  checkName(name);
  for (const text of exports) parseExport(text);
  await expectStore(store);
  const imports = [formatOptions({ type: 'local', attributes: { src: store, tag: name } })];
  return copyCache({ ...options, imports, exports });
}

export interface RemoveOptions {
  /** Only check that the name is there. */
  readonly dryRun?: boolean;
  readonly layout?: Partial<LayoutSettings>;
  readonly signal?: AbortSignal;
}

/**
 * Takes a name out of the store. Its blobs stay where they are.
 *
 * @throws CacheError NOT_FOUND when there is no such name
 */
export async function removeCache(store: string, name: string, options: RemoveOptions = {}): Promise<void> {
  checkCall('removeCache', { store, name, options });
  const { dryRun = false, layout: settings, signal } = options;
  checkName(name);
  await expectStore(store);
  const withoutName = (index: LayoutIndex) => {
    const left = withoutTag(index, name);
    if (left.manifests.length < index.manifests.length) return dryRun ? index : left;
    const names = index.manifests.map(tagOf).filter((tag) => tag !== undefined);
    const other = findTag(index, name) === undefined ? '' : ' (an image of that name is there, and stays)';
    throw new CacheError('NOT_FOUND', `the store ${store} has no cache named ${JSON.stringify(name)}${other}`, {
      hint: names.length === 0 ? 'it is empty' : `it has: ${names.join(', ')}`,
    });
  };
  await abortable(signal, async () => {
    const layout = await openLayout(store, settings);
    try {
      await updateIndex(layout, withoutName, signal);
    } finally {
      await layout.close();
    }
  });
}

function checkName(name: string): void {
  if (!/\p{Cc}/u.test(name)) return;
  throw new CacheError('USAGE', `${JSON.stringify(name)} cannot be the name of a cache`);
}

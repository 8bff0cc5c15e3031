import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { checkCall } from '../calls.js';
import { isOptionString } from '../buildkit/values.js';
import { CacheError, isSystemError } from '../errors.js';
import { exists } from '../layout/files/durable.js';

/**
 * The folder of the store: the one that is named, or `$BKCACHE_STORE`, or `bkcache` in the user's cache folder.
 *
 * @throws CacheError USAGE for an option string, and when nothing is named and the user has no home
 */
export function storePath(named?: string, env: NodeJS.ProcessEnv = process.env): string {
  checkCall('storePath', { named });
  const path = named ?? (env['BKCACHE_STORE'] || join(cacheHome(env), 'bkcache'));
  if (!isOptionString(path)) return resolve(path);
  throw new CacheError('USAGE', 'the store is a folder, and an option string was given for it', {
    hint: '"bkcache copy" takes option strings; a folder whose name has "type=" in it is written ./NAME',
  });
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
 * Checks that a text can be the name of a cache in the store.
 *
 * @throws CacheError USAGE
 */
export function checkCacheName(name: string): void {
  if (!/\p{Cc}/u.test(name)) return;
  throw new CacheError('USAGE', `${JSON.stringify(name)} cannot be the name of a cache`);
}

import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * Where a user's own notes of bkcache are: next to the store of BuildKit's caches, not in it, since other users may write to a
 * store.
 *
 * @returns undefined for a user without a home
 */
export function userFile(name: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  try {
    return join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), name);
  } catch {
    return undefined;
  }
}

import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { acquireLock } from '../../src/layout/lock/lock.js';

// In milliseconds. Another run may be making the same thing.
const WAIT = 60 * 60_000;

/** The folder that is kept between runs: `$BKCACHE_BUILDKIT_HOME`, or one in /var/cache. */
export function homeFolder(env: NodeJS.ProcessEnv = process.env): string {
  return env['BKCACHE_BUILDKIT_HOME'] || '/var/cache/bkcache-buildkit';
}

/** Whether a folder that is made once has been made. */
export async function isMade(folder: string): Promise<boolean> {
  return stat(folder).then(
    () => true,
    () => false,
  );
}

/**
 * Makes a folder that is kept between runs, unless it has been made. Of several runs one makes it, and what was interrupted
 * in the making starts again.
 *
 * @param make - makes the folder under another path, from which it is renamed
 */
export async function makeOnce(
  folder: string,
  make: (partial: string) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  await mkdir(dirname(folder), { recursive: true });
  using _ = await acquireLock(folder, 'exclusive', { timeout: WAIT, signal });
  if (await isMade(folder)) return;
  const partial = `${folder}.partial`;
  await rm(partial, { recursive: true, force: true });
  await make(partial);
  await rename(partial, folder);
}

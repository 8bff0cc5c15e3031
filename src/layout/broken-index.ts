import { lstat, rm, rmdir } from 'node:fs/promises';
import { CacheError, isSystemError } from '../errors.js';
import { namesIn } from './blob-list.js';
import { syncPath, writeNewFile } from './durable.js';
import { indexPath, keptIndexPath, readIndex, updateIndex } from './index-file.js';
import { encodeIndex, type LayoutIndex, withEntry } from './index-json.js';
import { isReadable, lateEntries, replaceUnder, sameBytes } from './index-replace.js';
import type { Layout } from './layout.js';
import { type HeldLock, withLock } from './lock.js';
import { contentOfFile } from './small-file.js';

/** An index.json that cannot be read. */
export interface BrokenIndex {
  /** Undefined where there is no file. */
  readonly bytes: Buffer | undefined;
}

/**
 * What is in index.json when it cannot be read; undefined when it can, which a build that is writing it is waited for.
 *
 * @throws CacheError BUSY; CORRUPT for a link and for a file that is too large, FAILED for a folder with something in it
 */
export async function brokenIndex(layout: Layout, signal?: AbortSignal): Promise<BrokenIndex | undefined> {
  try {
    await readIndex(layout, signal);
    return undefined;
  } catch (error) {
    if (!(error instanceof CacheError) || (error.code !== 'CORRUPT' && error.code !== 'NOT_FOUND')) throw error;
  }
  const path = indexPath(layout);
  if (!(await isFolder(path))) return { bytes: await contentOfFile(path) };
  if ((await namesIn(path)).length === 0) return { bytes: undefined };
  throw new CacheError('FAILED', `${path} is a folder, and there is something in it`, {
    hint: 'move it elsewhere, and repair again',
  });
}

/**
 * Puts an index in the place of one that cannot be read, under the exclusive lock.
 *
 * @returns whether that was done: an index.json that is another one by now, or can be read, stays
 * @throws CacheError BUSY
 */
export async function replaceBrokenIndex(
  layout: Layout,
  { bytes: broken }: BrokenIndex,
  index: LayoutIndex,
  signal?: AbortSignal,
): Promise<boolean> {
  const path = indexPath(layout);
  const options = { timeout: layout.settings.lockTimeout, signal };
  const temporary = await layout.workspace.temporary();
  const prepared = { bytes: broken, before: index, temporary };
  try {
    await writeNewFile(temporary, encodeIndex(index), layout.settings);
    const replace = async (lock: HeldLock) => {
      if (await isFolder(path)) await rmdir(path);
      const isSame = (bytes: Buffer | undefined) => sameBytes(bytes, broken) && !isReadable(bytes, path);
      const same = (bytes: Buffer | undefined) => Promise.resolve(isSame(bytes) ? prepared : undefined);
      return replaceUnder(lock, path, same, keptIndexPath(layout));
    };
    const replaced = await withLock(path, 'exclusive', replace, options);
    if (replaced === 'again') return false;
    const late = await lateEntries(replaced, path);
    if (layout.settings.durable) await syncPath(layout.root);
    if (late.length > 0) await updateIndex(layout, (now) => late.reduce(withEntry, now), signal);
    return true;
  } finally {
    await rm(temporary, { force: true });
  }
}

async function isFolder(path: string): Promise<boolean> {
  const stats = await lstat(path).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  });
  return stats?.isDirectory() === true;
}

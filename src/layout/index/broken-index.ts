import { rmdir } from 'node:fs/promises';
import { CacheError } from '../../errors.js';
import { statOf } from '../files/local-disk.js';
import { namesIn } from '../blobs/blob-list.js';
import { writeNewFile } from '../files/durable.js';
import { addMissed, keptIndexPath, replaceIndex, type UpdateOptions } from './index-file.js';
import { decodeIndex, encodeIndex, hasList, type LayoutIndex } from './index-json.js';
import { indexPath, readIndex } from './index-read.js';
import { isReadable } from './index-replace.js';
import type { Layout } from '../layout.js';
import { bytesOfFile } from '../files/small-file.js';

/** An index.json that cannot be read. */
interface BrokenIndex {
  /** Undefined where there is no file. */
  readonly bytes: Buffer | undefined;
}

/**
 * What is in index.json when it cannot be read; undefined when it can, which a build that is writing it is waited for.
 *
 * @throws CacheError BUSY; CORRUPT for a link and for a file that is too large, FAILED for a folder with something in it
 */
export async function brokenIndex(layout: Layout, signal?: AbortSignal): Promise<BrokenIndex | undefined> {
  const path = indexPath(layout);
  try {
    await readIndex(layout, signal);
    return undefined;
  } catch (error) {
    if (!(error instanceof CacheError) || (error.code !== 'CORRUPT' && error.code !== 'NOT_FOUND')) throw error;
    // An empty folder is replaced; a link or a pipe is not.
    if (error.wrong === 'notAFile' && !(await isFolder(path))) throw error;
  }
  if (!(await isFolder(path))) return { bytes: await bytesOfFile(path) };
  if ((await namesIn(path)).length === 0) return { bytes: undefined };
  throw new CacheError('FAILED', `${path} is a folder, and there is something in it`, {
    hint: 'move it elsewhere, and repair again',
  });
}

/**
 * Puts an index in the place of one that cannot be read, under the exclusive lock.
 *
 * @returns whether that was done: an index.json that is another one by now, or can be read, stays
 * @throws CacheError BUSY; LostBlobs
 */
export async function replaceBrokenIndex(
  layout: Layout,
  { bytes }: BrokenIndex,
  index: LayoutIndex,
  { leased, signal }: Pick<UpdateOptions, 'leased' | 'signal'> = {},
): Promise<boolean> {
  const path = indexPath(layout);
  if (isReadable(bytes, path) && hasList(decodeIndex(bytes, path))) return false;
  await using lease = layout.workspace.lease();
  const temporary = await lease.temporary();
  await writeNewFile(temporary, encodeIndex(index), { ...layout.settings, place: path });
  if (await isFolder(path)) await rmdir(path);
  const prepared = { bytes, stamp: undefined, before: index, temporary };
  const missed = await replaceIndex(layout, prepared, { leased, keepAs: keptIndexPath(layout), signal });
  if (missed === 'again') return false;
  if (missed !== undefined) await addMissed(layout, index, missed);
  return true;
}

async function isFolder(path: string): Promise<boolean> {
  return (await statOf(path))?.isDirectory() === true;
}

import { linkSync, renameSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError } from '../../errors.js';
import type { Exchange } from '../files/exchange.js';
import { decodeIndex, entryKey, type LayoutIndex, withEntry } from './index-json.js';
import type { IndexLock } from '../lock/lock.js';
import { inodeOfSame, readFileNow, sameBytes, type SettledFile, TORN_PAUSE, TORN_TRIES } from './settled.js';

/** A new index.json that is written, but not in its place yet, and the file that it is to replace. */
export interface Prepared extends SettledFile {
  readonly before: LayoutIndex;
  readonly temporary: string;
}

/** An index.json that was replaced. */
interface Replaced extends Pick<Prepared, 'bytes' | 'before'> {
  /** Where the old file is now; undefined where there was none, or the filesystem could not keep it. */
  readonly old: string | undefined;
  /** The inode of the file that was to be replaced. */
  readonly inode: bigint;
}

/** What another process has put into index.json, and was replaced with it. */
export interface Missed {
  readonly theirs: LayoutIndex;
  /** Whether they have written a new file, as bkcache does; BuildKit writes in place, and only ever adds. */
  readonly isNewFile: boolean;
}

/**
 * Puts a new index.json in the place of the old one, under the exclusive lock: in one step that shows what was replaced
 * in truth, where the filesystem can do that.
 *
 * The old file is closed by then: filesystems made with libfuse rename an open file away first, and lose it when the
 * rename fails after that.
 *
 * @returns 'again' when that was not done, since the lock or the file is not what it was
 */
export function replaceUnder(
  lock: IndexLock,
  path: string,
  { bytes, stamp, before, temporary }: Prepared,
  { tryExchange, tryRenameNew }: Exchange,
): Replaced | 'again' {
  const inode = inodeOfSame(path, { bytes, stamp });
  if (inode === undefined || !lock.isSeen()) return 'again';
  const replaced = { bytes, before, inode };
  if (bytes === undefined) {
    const outcome = tryRenameNew(temporary, path);
    if (outcome === 'exists') return 'again';
    if (outcome === 'unable') renameSync(temporary, path);
    return { ...replaced, old: undefined };
  }
  if (tryExchange(temporary, path)) return { ...replaced, old: temporary };
  const old = `${temporary}.old`;
  const isKept = tryLink(path, old);
  renameSync(temporary, path);
  return { ...replaced, old: isKept ? old : undefined };
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch {
    // FAT has no links.
    return false;
  }
}

/**
 * What the replaced file says, where that is something else than what the new one was made from; undefined where it is
 * not. Another bkcache has replaced index.json while this process stood still under a lock file that a build had
 * deleted; or a build, which writes in place, has gone on to write under such a lock. The file goes.
 */
export async function missed({ old, bytes, inode }: Replaced, path: string): Promise<Missed | undefined> {
  if (old === undefined) return undefined;
  try {
    for (let attempt = 1; attempt <= TORN_TRIES; attempt++) {
      await sleep(TORN_PAUSE);
      const now = readFileNow(old);
      if (now === undefined || sameBytes(now.bytes, bytes)) return undefined;
      if (isReadable(now.bytes, path))
        return { theirs: decodeIndex(now.bytes, path), isNewFile: now.stamp.inode !== inode };
    }
    // The process that wrote that has died over it.
    return undefined;
  } catch (error) {
    if (error instanceof CacheError) return undefined;
    throw error;
  } finally {
    await rm(old, { force: true });
  }
}

/** An index with what another process has added to the one before, and without what they have taken out of it. */
export function withMissed(index: LayoutIndex, before: LayoutIndex, { theirs, isNewFile }: Missed): LayoutIndex {
  const known = new Set(before.manifests.map(entryKey));
  const kept = new Set(theirs.manifests.map(entryKey));
  const isDropped = (key: string) => isNewFile && known.has(key) && !kept.has(key);
  const manifests = index.manifests.filter((entry) => !isDropped(entryKey(entry)));
  const added = theirs.manifests.filter((entry) => !known.has(entryKey(entry)));
  return added.reduce(withEntry, { ...index, manifests });
}

/** Whether bytes are those of an index. */
export function isReadable(bytes: Buffer | undefined, path: string): bytes is Buffer {
  if (bytes === undefined) return false;
  try {
    decodeIndex(bytes, path);
    return true;
  } catch {
    return false;
  }
}

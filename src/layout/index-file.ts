import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError } from '../errors.js';
import { syncPath, writeNewFile } from './durable.js';
import type { Descriptor } from '../oci/descriptor.js';
import { decodeIndex, encodeIndex, type LayoutIndex, withEntry } from './index-json.js';
import { lateEntries, type Prepared, replaceUnder, sameBytes, TORN_PAUSE, TORN_TRIES } from './index-replace.js';
import type { Layout } from './layout.js';
import { type HeldLock, withLock } from './lock.js';
import { contentOfFile } from './small-file.js';

export function indexPath({ root }: Pick<Layout, 'root'>): string {
  return join(root, 'index.json');
}

/** Where the index is that a repair has replaced, until the repair has ended. */
export function keptIndexPath({ root }: Pick<Layout, 'root'>): string {
  return join(root, 'index.json.before-repair');
}

/**
 * Reads index.json while holding the shared lock.
 *
 * @throws CacheError NOT_FOUND when there is none, CORRUPT when it is none, BUSY
 */
export async function readIndex(layout: Layout, signal?: AbortSignal): Promise<LayoutIndex> {
  return lockedIndex(layout, 'shared', (index) => Promise.resolve(index), signal);
}

/**
 * Does something with index.json while nobody can change it; with the exclusive lock, while nobody can read it either.
 *
 * @throws CacheError NOT_FOUND when there is none, CORRUPT when it is none, BUSY
 */
export async function lockedIndex<T>(
  layout: Layout,
  kind: 'shared' | 'exclusive',
  run: (index: LayoutIndex, lock: HeldLock) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const path = indexPath(layout);
  const options = { timeout: layout.settings.lockTimeout, signal };
  for (let attempt = 1; ; attempt++) {
    const outcome = await withLock(path, kind, (lock) => readUnder(lock, path, run, attempt >= TORN_TRIES), options);
    if (outcome !== undefined) return outcome.value;
    await sleep(TORN_PAUSE, undefined, { signal });
  }
}

/** @returns undefined when somebody wrote in spite of the lock, and it has to be read again */
async function readUnder<T>(
  lock: HeldLock,
  path: string,
  run: (index: LayoutIndex, lock: HeldLock) => Promise<T>,
  isLastTry: boolean,
): Promise<{ readonly value: T } | undefined> {
  const bytes = await contentOfFile(path);
  if (bytes === undefined) {
    throw new CacheError(
      'NOT_FOUND',
      `there is no cache in ${path.slice(0, -'/index.json'.length)}: it has no index.json`,
      {
        hint: 'the first build with --export-cache type=local,dest=… makes one',
      },
    );
  }
  if (!isLastTry && !(await lock.isSeen())) return undefined;
  let index: LayoutIndex;
  try {
    index = decodeIndex(bytes, path);
  } catch (error) {
    if (isLastTry || !(await isChanging(path, bytes))) throw error;
    return undefined;
  }
  return { value: await run(index, lock) };
}

/** Whether a file is being written at this moment. */
async function isChanging(path: string, bytes: Uint8Array): Promise<boolean> {
  await sleep(TORN_PAUSE);
  const now = await contentOfFile(path);
  return now === undefined || !now.equals(bytes);
}

/**
 * Changes index.json: a reader sees the old file or the new one, also after a crash. The new file is written and synced
 * before the exclusive lock is taken, which is held for little more than the rename; where somebody else was faster,
 * the change is made again on top of theirs.
 *
 * @param change - pure; may be called several times. Giving back what it was given leaves the file as it is.
 * @param keepAs - where to leave the old file, unless there is one already
 * @throws CacheError CORRUPT when index.json is none, BUSY
 */
export async function updateIndex(
  layout: Layout,
  change: (index: LayoutIndex) => LayoutIndex,
  signal?: AbortSignal,
  keepAs?: string,
): Promise<void> {
  const path = indexPath(layout);
  const options = { timeout: layout.settings.lockTimeout, signal };
  let late: readonly Descriptor[] | undefined;
  while (late === undefined) {
    signal?.throwIfAborted();
    // What makes this fail may be gone by the time that the lock is ours.
    const early = await prepare(layout, await contentOfFile(path), change).catch(() => undefined);
    if (early !== undefined && early.temporary === undefined) return;
    const prepared = async (bytes: Buffer | undefined) => {
      if (early !== undefined && sameBytes(early.bytes, bytes)) return early;
      if (early?.temporary !== undefined) await rm(early.temporary, { force: true });
      return prepare(layout, bytes, change);
    };
    const replaced = await withLock(path, 'exclusive', (lock) => replaceUnder(lock, path, prepared, keepAs), options);
    late = replaced === 'again' ? undefined : await lateEntries(replaced, path);
  }
  if (layout.settings.durable) await syncPath(layout.root);
  if (late.length > 0) await updateIndex(layout, (index) => late.reduce(withEntry, index), signal);
}

async function prepare(
  layout: Layout,
  bytes: Buffer | undefined,
  change: (index: LayoutIndex) => LayoutIndex,
): Promise<Prepared> {
  const before = bytes === undefined || bytes.length === 0 ? { manifests: [] } : decodeIndex(bytes, indexPath(layout));
  const after = change(before);
  if (after === before) return { bytes, before, temporary: undefined };
  const temporary = await layout.workspace.temporary();
  await writeNewFile(temporary, encodeIndex(after), layout.settings);
  return { bytes, before, temporary };
}

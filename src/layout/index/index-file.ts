import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isSystemError } from '../../errors.js';
import { syncFolder, writeNewFile } from '../files/durable.js';
import { decodeIndex, encodeIndex, type LayoutIndex } from './index-json.js';
import { indexPath } from './index-read.js';
import { type Missed, missed, type Prepared, replaceUnder, withMissed } from './index-replace.js';
import type { Layout } from '../layout.js';
import { withLock } from '../lock/lock.js';
import { LostBlobs } from '../blobs/lost-blobs.js';
import { settled } from './settled.js';
import { takeTurn } from '../lock/turn.js';

/** When to look again at what was relied on where others have been at work lately; in milliseconds after each other. */
const LOOKS = [10, 20, 40, 80];

/** Where the index is that a repair has replaced, until the repair has ended. */
export function keptIndexPath({ root }: Pick<Layout, 'root'>): string {
  return join(root, 'index.json.before-repair');
}

/**
 * Changes index.json: a reader sees the old file or the new one, also after a crash. The new file is made, written and
 * synced before the exclusive lock is taken, which is held for little more than the rename; where somebody else was
 * faster, the change is made again on top of theirs.
 *
 * Before the rename, and once more after it, the blobs are looked for that this process relies on in the folder.
 *
 * @param change - pure; may be called several times. Giving back what it was given leaves the file as it is.
 * @param keepAs - where to leave the old file, unless there is one already
 * @throws CacheError CORRUPT when index.json is none, BUSY; LostBlobs
 */
export async function updateIndex(
  layout: Layout,
  change: (index: LayoutIndex) => LayoutIndex,
  signal?: AbortSignal,
  keepAs?: string,
): Promise<void> {
  const isBusy = layout.blobs.reliesOnAny && layout.workspace.wasBusy();
  const turn = await takeTurn(layout.root, signal);
  let replaced: Prepared | undefined;
  try {
    replaced = await replaceWith(layout, change, { check: () => refuseLoss(layout), keepAs, signal });
  } finally {
    turn.release();
  }
  if (replaced !== undefined) await lookAgain(layout, isBusy && replaced.bytes !== undefined);
}

/** @returns what was put in its place; undefined when nothing was to be changed */
async function replaceWith(
  layout: Layout,
  change: (index: LayoutIndex) => LayoutIndex,
  options: ReplaceOptions,
): Promise<Prepared | undefined> {
  for (;;) {
    const prepared = await prepare(layout, change, options.signal);
    const outcome = prepared && (await replaceIndex(layout, prepared, options));
    if (outcome === 'again') continue;
    if (prepared !== undefined && outcome !== undefined) await addMissed(layout, prepared.before, outcome);
    return prepared;
  }
}

/**
 * Adds to index.json what somebody else had put into the one that was replaced. Nothing stops that: what they have done
 * is done, and would be lost.
 *
 * @throws CacheError BUSY
 */
export async function addMissed(layout: Layout, before: LayoutIndex, missed: Missed): Promise<void> {
  await replaceWith(layout, (index) => withMissed(index, before, missed), {});
}

interface ReplaceOptions {
  /** Throws when the new index.json must not be put in its place. */
  readonly check?: () => void;
  /** Where to leave the old file, unless there is one already. */
  readonly keepAs?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Puts a new index.json in its place, when that is still what the new one was made from.
 *
 * @returns what has to be added to it, since somebody else was at work; or 'again'
 * @throws CacheError BUSY; what the check throws
 */
export async function replaceIndex(
  layout: Layout,
  prepared: Prepared,
  { check, keepAs, signal }: ReplaceOptions,
): Promise<Missed | 'again' | undefined> {
  const path = indexPath(layout);
  const { bytes, temporary } = prepared;
  const exchange = await import('../files/exchange.js');
  const isKept = keepAs !== undefined && bytes !== undefined && (await keep(bytes, path, keepAs));
  let replaced: ReturnType<typeof replaceUnder> = 'again';
  try {
    check?.();
    const options = { timeout: layout.settings.lockTimeout, signal };
    replaced = await withLock(
      path,
      'exclusive',
      (lock) => {
        check?.();
        return replaceUnder(lock, path, prepared, exchange);
      },
      options,
    );
  } finally {
    if (replaced === 'again') {
      await rm(temporary, { force: true });
      if (isKept) await rm(keepAs, { force: true });
    }
  }
  if (replaced === 'again') return replaced;
  if (layout.settings.durable) await syncFolder(layout.root);
  return missed(replaced, path);
}

/** @returns undefined when nothing is to be changed */
async function prepare(
  layout: Layout,
  change: (index: LayoutIndex) => LayoutIndex,
  signal: AbortSignal | undefined,
): Promise<Prepared | undefined> {
  const path = indexPath(layout);
  const read = (bytes: Buffer | undefined) => {
    const isNew = bytes === undefined || bytes.length === 0;
    return { bytes, before: isNew ? { manifests: [] } : decodeIndex(bytes, path) };
  };
  const { bytes, before } = await settled(path, read, { timeout: layout.settings.lockTimeout, signal });
  const after = change(before);
  if (after === before) return undefined;
  const temporary = await layout.workspace.temporary();
  await writeNewFile(temporary, encodeIndex(after), { ...layout.settings, place: path });
  return { bytes, before, temporary };
}

/**
 * Leaves the bytes of a file under another name, for the same users.
 *
 * @returns whether it was not there already
 */
async function keep(bytes: Buffer, place: string, path: string): Promise<boolean> {
  try {
    await writeNewFile(path, bytes, { durable: false, place });
    return true;
  } catch (error) {
    if (!isSystemError(error, 'EEXIST')) throw error;
    return false;
  }
}

/** @throws CacheError FAILED, LostBlobs */
export function refuseLoss({ root, blobs, workspace }: Layout): void {
  workspace.refuseLoss();
  const lost = blobs.lost();
  if (lost.length > 0) throw new LostBlobs(root, lost);
}

/**
 * Looks for what index.json names by now. An export of BuildKit that resets its cache has read index.json before that,
 * and goes on to delete for a while; all that shows of it is that somebody has had a lock file in the folder.
 */
async function lookAgain(layout: Layout, isBusy: boolean): Promise<void> {
  refuseLoss(layout);
  for (const pause of isBusy ? LOOKS : []) {
    await sleep(pause);
    refuseLoss(layout);
  }
}

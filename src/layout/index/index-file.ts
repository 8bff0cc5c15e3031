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
import type { LeasedBlobs } from '../blobs/leased-blobs.js';
import { settled, type Stamp } from './settled.js';
import { takeTurn } from '../lock/turn.js';
import type { Lease } from '../workspace/lease.js';

/** When to look again at leased blobs where another process was at work lately; in milliseconds after each other. */
const LOOKS = [10, 20, 40, 80];

/** The path of the index that a repair has replaced, until the repair has ended. */
export function keptIndexPath({ root }: Pick<Layout, 'root'>): string {
  return join(root, 'index.json.before-repair');
}

/** What goes along with a change of index.json. */
export interface UpdateOptions {
  /** The blobs that the new index.json needs. */
  readonly leased?: LeasedBlobs | undefined;
  /** The path for the old file, unless there is a file of that name already. */
  readonly keepAs?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Changes index.json: a reader sees the old file or the new one, also after a crash. The new file is made, written and
 * synced before the exclusive lock is taken, and renamed under the lock; where another writer was faster, the change is
 * made again on top of theirs.
 *
 * Before the rename, and once more after it, the leased blobs are looked for.
 *
 * @param change - pure; may be called several times. Returning its argument leaves the file as it is.
 * @throws CacheError CORRUPT when index.json is unreadable, BUSY; LostBlobs
 */
export async function updateIndex(
  layout: Layout,
  change: (index: LayoutIndex) => LayoutIndex,
  options: UpdateOptions = {},
): Promise<void> {
  const { leased, signal } = options;
  const isBusy = leased?.wasBusy() === true;
  const turn = await takeTurn(layout.root, signal);
  let replaced: Prepared | undefined;
  try {
    replaced = await replaceWith(layout, change, options);
  } finally {
    turn.release();
  }
  if (replaced !== undefined && leased !== undefined) await lookAgain(leased, isBusy && replaced.bytes !== undefined);
}

/** @returns what replaced it; undefined when nothing changed */
async function replaceWith(
  layout: Layout,
  change: (index: LayoutIndex) => LayoutIndex,
  options: UpdateOptions,
): Promise<Prepared | undefined> {
  await using lease = layout.workspace.lease();
  for (;;) {
    const prepared = await prepare(layout, change, lease, options.signal);
    const outcome = prepared && (await replaceIndex(layout, prepared, options));
    if (outcome === 'again') continue;
    if (prepared !== undefined && outcome !== undefined) await addMissed(layout, prepared.before, outcome);
    return prepared;
  }
}

/**
 * Adds to index.json what another process had put into the file that was replaced. No lost blob stops that: without it
 * the entries of the other process would be lost.
 *
 * @throws CacheError BUSY
 */
export async function addMissed(layout: Layout, before: LayoutIndex, missed: Missed): Promise<void> {
  await replaceWith(layout, (index) => withMissed(index, before, missed), {});
}

/**
 * Puts a new index.json in its place, when that is still what the new one was made from.
 *
 * @returns what has to be added to it, since another process was at work; or 'again'
 * @throws CacheError BUSY, FAILED when markers were deleted; LostBlobs
 */
export async function replaceIndex(
  layout: Layout,
  prepared: Prepared,
  { leased, keepAs, signal }: UpdateOptions,
): Promise<Missed | 'again' | undefined> {
  const path = indexPath(layout);
  const { bytes, temporary } = prepared;
  const exchange = await import('../files/exchange.js');
  const isKept = keepAs !== undefined && bytes !== undefined && (await keep(bytes, path, keepAs));
  let replaced: ReturnType<typeof replaceUnder> = 'again';
  try {
    leased?.refuseLoss();
    const options = { timeout: layout.settings.lockTimeout, signal };
    replaced = await withLock(
      path,
      'exclusive',
      (lock) => {
        leased?.refuseLoss();
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

/** @returns undefined when nothing changes */
async function prepare(
  layout: Layout,
  change: (index: LayoutIndex) => LayoutIndex,
  lease: Lease,
  signal: AbortSignal | undefined,
): Promise<Prepared | undefined> {
  const path = indexPath(layout);
  const read = (bytes: Buffer | undefined, stamp: Stamp | undefined) => {
    const isNew = bytes === undefined || bytes.length === 0;
    return { bytes, stamp, before: isNew ? { manifests: [] } : decodeIndex(bytes, path) };
  };
  const { bytes, stamp, before } = await settled(path, read, { timeout: layout.settings.lockTimeout, signal });
  const after = change(before);
  if (after === before) return undefined;
  const temporary = await lease.temporary();
  await writeNewFile(temporary, encodeIndex(after), { ...layout.settings, place: path });
  return { bytes, stamp, before, temporary };
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

/**
 * Looks for the blobs that index.json names by now. An export of BuildKit with reset=true may have read index.json before
 * that, and goes on to delete for a while; the only trace of it is that a lock file was made in the folder.
 */
async function lookAgain(leased: LeasedBlobs, isBusy: boolean): Promise<void> {
  leased.refuseLoss();
  for (const pause of isBusy ? LOOKS : []) {
    await sleep(pause);
    leased.refuseLoss();
  }
}

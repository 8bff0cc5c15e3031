import { lstat, lutimes } from 'node:fs/promises';
import { join } from 'node:path';
import { CacheError, isSystemError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { findTag, LAST_USED, type LayoutIndex } from './index-json.js';
import { type Layout, openLayout } from '../layout.js';
import { bytesOfFile } from '../files/small-file.js';
import { DEFAULT_LAYOUT_SETTINGS } from '../settings.js';

// https://bford.info/cachedir/: backup programs leave out folders with this file in them.
const CACHEDIR_TAG = 'Signature: 8a477f597d28d172789f06886806bc55\n# The blobs of build caches, kept by bkcache.\n';
/** Uses that follow each other faster are not recorded, so that frequent imports rarely take the lock. In milliseconds. */
const PRECISION = 10 * 60_000;

/** Marks a layout as a store, which keeps many caches, and what was used when. */
export async function markStore(layout: Layout): Promise<void> {
  if (await isStore(layout.root)) return;
  const { replaceFile } = await import('../create-layout.js');
  await replaceFile(layout, 'CACHEDIR.TAG', Buffer.from(CACHEDIR_TAG));
}

/** Whether a layout is a store. */
export async function isStore(root: string): Promise<boolean> {
  try {
    return (await bytesOfFile(join(root, 'CACHEDIR.TAG')))?.toString() === CACHEDIR_TAG;
  } catch (error) {
    // A link, a folder, a pipe: not ours, at any rate.
    if (error instanceof CacheError || isSystemError(error, 'EACCES', 'EPERM')) return false;
    throw error;
  }
}

/** When an entry was last used, in milliseconds since 1970; undefined when that is not recorded. */
export function lastUsed({ annotations }: Descriptor): number | undefined {
  const time = Date.parse(annotations?.[LAST_USED] ?? '');
  return Number.isNaN(time) ? undefined : time;
}

/** An entry whose last use is now. */
export function usedNow(entry: Descriptor): Descriptor {
  return { ...entry, annotations: { ...entry.annotations, [LAST_USED]: new Date().toISOString() } };
}

/**
 * Records that a manifest is being used, to within ten minutes: for a tag of a store in index.json; elsewhere as the time
 * of the manifest's file, since index.json of a folder that is read only stays as a build wrote it. It is a help for
 * prune and no more: where the lock is taken, or nothing may be written, it is left.
 *
 * @param tag - what the manifest was asked for by; left out for a digest
 */
export async function recordUse(
  { root, blobs }: Layout,
  { digest }: Descriptor,
  tag: string | undefined,
  signal?: AbortSignal,
): Promise<void> {
  if (tag !== undefined && (await isStore(root))) await recordTagUse(root, tag, signal);
  else await setFileTime(blobs.path(digest), Date.now());
}

async function recordTagUse(root: string, tag: string, signal?: AbortSignal): Promise<void> {
  await using layout = await openLayout(root, { ...DEFAULT_LAYOUT_SETTINGS, lockTimeout: 0 });
  const now = Date.now();
  const change = (index: LayoutIndex): LayoutIndex => {
    const found = findTag(index, tag);
    if (found === undefined || now - (lastUsed(found) ?? 0) < PRECISION) return index;
    return { ...index, manifests: index.manifests.map((entry) => (entry === found ? usedNow(entry) : entry)) };
  };
  try {
    const { updateIndex } = await import('./index-file.js');
    await updateIndex(layout, change, { signal });
  } catch (error) {
    const harmless = error instanceof CacheError && (error.code === 'BUSY' || error.code === 'CORRUPT');
    if (!harmless && !isSystemError(error, 'EACCES', 'EPERM', 'EROFS', 'ENOSPC', 'EDQUOT')) throw error;
  }
}

/**
 * Gives a manifest's file the time of its last use, where that is allowed.
 *
 * @param time - in milliseconds since 1970
 */
export async function setFileTime(path: string, time: number): Promise<void> {
  try {
    const { mtimeMs } = await lstat(path);
    if (Math.abs(time - mtimeMs) >= PRECISION) await lutimes(path, time / 1000, time / 1000);
  } catch (error) {
    if (!isSystemError(error)) throw error;
  }
}

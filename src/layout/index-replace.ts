import { type FileHandle, rename, rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { isSystemError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { writeNewFile } from './durable.js';
import { decodeIndex, entryKey, type LayoutIndex } from './index-json.js';
import type { HeldLock } from './lock.js';
import { openSmallFile, readSmallFile } from './small-file.js';

/** How long BuildKit may take to write index.json, in milliseconds and in looks at it. It holds the lock for less. */
export const TORN_PAUSE = 5;
export const TORN_TRIES = 20;

/** A new index.json that is written, but not in its place yet. */
export interface Prepared {
  readonly bytes: Buffer | undefined;
  readonly before: LayoutIndex;
  /** Undefined when nothing is to be changed. */
  readonly temporary: string | undefined;
}

/** The file that was replaced, kept open, and what was in it. */
export interface Replaced {
  readonly handle: FileHandle | undefined;
  readonly bytes: Buffer | undefined;
  readonly before: LayoutIndex;
}

/**
 * Renames a new index.json over the old one, under the exclusive lock.
 *
 * @param prepared - what is to take the place of these bytes; undefined when nothing of the kind is at hand
 * @param keepAs - where to leave the old file, unless there is one already
 * @returns 'again' when that was not done, since the lock or the file is not what it was
 */
export async function replaceUnder(
  lock: HeldLock,
  path: string,
  prepared: (bytes: Buffer | undefined) => Promise<Prepared | undefined>,
  keepAs: string | undefined,
): Promise<Replaced | 'again'> {
  const handle = await openSmallFile(path);
  try {
    const bytes = await readSmallFile(handle, path);
    const next = await prepared(bytes);
    if (next === undefined) {
      await handle?.close();
      return 'again';
    }
    const { before, temporary } = next;
    if (temporary === undefined) {
      await handle?.close();
      return { handle: undefined, bytes, before };
    }
    if (keepAs !== undefined && bytes !== undefined) await keep(bytes, keepAs);
    if (!(await lock.isSeen()) || !sameBytes(await readSmallFile(handle, path), bytes)) {
      await rm(temporary, { force: true });
      await handle?.close();
      return 'again';
    }
    await rename(temporary, path);
    return { handle, bytes, before };
  } catch (error) {
    await handle?.close();
    throw error;
  }
}

async function keep(bytes: Buffer, path: string): Promise<void> {
  await writeNewFile(path, bytes, { durable: false }).catch((error: unknown) => {
    if (!isSystemError(error, 'EEXIST')) throw error;
  });
}

/**
 * What a build has written into the replaced file after all. BuildKit writes in place, and may do so under a lock that
 * meets nobody else's, on a lock file that was deleted before ours was made.
 */
export async function lateEntries({ handle, bytes, before }: Replaced, path: string): Promise<readonly Descriptor[]> {
  if (handle === undefined) return [];
  try {
    for (let attempt = 1; attempt <= TORN_TRIES; attempt++) {
      await sleep(TORN_PAUSE);
      const now = await readSmallFile(handle, path);
      if (now === undefined || sameBytes(now, bytes)) return [];
      if (!isReadable(now, path)) continue;
      const known = new Set(before.manifests.map(entryKey));
      return decodeIndex(now, path).manifests.filter((entry) => !known.has(entryKey(entry)));
    }
    // Whoever wrote that has died over it.
    return [];
  } finally {
    await handle.close();
  }
}

/** Whether a file has not changed; undefined stands for none. */
export function sameBytes(a: Buffer | undefined, b: Buffer | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.equals(b);
}

/** Whether bytes are those of an index. */
export function isReadable(bytes: Buffer | undefined, path: string): boolean {
  if (bytes === undefined) return false;
  try {
    decodeIndex(bytes, path);
    return true;
  } catch {
    return false;
  }
}

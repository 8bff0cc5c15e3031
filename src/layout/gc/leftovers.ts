import { type FileHandle, lstat, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CacheError, isSystemError } from '../../errors.js';
import { splitDigest } from '../../oci/digest.js';
import { quarantinedBlobs, isQuarantine, removeQuarantine } from './quarantine.js';
import { statOf } from '../files/local-disk.js';
import { namesIn } from '../blobs/blob-list.js';
import { KnownDamaged } from '../blobs/known-damaged.js';
import { exists } from '../files/durable.js';
import { openRegular } from '../files/open-file.js';
import { isSameFile } from '../files/same-file.js';
import { MARKER_ID, removeMarker, UNLOCKED_MARKER } from '../workspace/marker.js';
import { WORKSPACE_FOLDER } from '../workspace/workspace.js';

/** A file or folder of a dead process. */
export interface Leftover {
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  readonly remove: () => Promise<void> | Promise<undefined>;
}

/** How long a process may take between making its marker and locking it, in milliseconds. */
const UNTIL_LOCKED = 60_000;

/**
 * What dead processes have left: files in `.bkcache` whose marker has no lock, and unfinished blobs of BuildKit in
 * `ingest/` that were not changed for long.
 *
 * @param before - what BuildKit has changed since then stays; in milliseconds since 1970
 */
export async function leftovers(root: string, before: number): Promise<Leftover[]> {
  const folder = join(root, WORKSPACE_FOLDER);
  const names = await namesIn(folder);
  const found: Leftover[] = [];
  for (const id of new Set(names.flatMap((name) => MARKER_ID.exec(name)?.[0] ?? []))) {
    const marker = join(folder, id);
    if (!(await isDead(marker))) continue;
    let size = 0;
    for (const name of names.filter((name) => name.startsWith(id)))
      size += (await touched(join(folder, name)))?.size ?? 0;
    found.push({ path: marker, size, remove: () => ifDead(marker, () => removeMarker(folder, id)) });
  }
  for (const path of names.filter((name) => UNLOCKED_MARKER.test(name)).map((name) => join(folder, name))) {
    const made = (await statOf(path))?.mtimeMs ?? Number.POSITIVE_INFINITY;
    if (made > Date.now() - UNTIL_LOCKED || !(await isDead(path))) continue;
    found.push({ path, size: 0, remove: () => ifDead(path, () => rm(path, { force: true })) });
  }
  for (const { path, size, time } of await ingests(root)) {
    if (time < before) found.push({ path, size, remove: () => rm(path, { recursive: true, force: true }) });
  }
  return found;
}

async function isDead(marker: string): Promise<boolean> {
  return (await ifDead(marker, () => Promise.resolve(true))) === true;
}

/**
 * Does something when the process of a marker is dead, with the lock on the marker, so that no other process does the same
 * meanwhile.
 *
 * @returns undefined when the process is alive, or when only its user could find out
 */
async function ifDead<T>(marker: string, act: () => Promise<T>): Promise<T | undefined> {
  const { tryFlock } = await import('../lock/flock.js');
  let opened: FileHandle;
  try {
    opened = await openRegular(marker);
  } catch (error) {
    // Without a marker there is no process that could be alive; a link or a pipe is no marker.
    if (isSystemError(error, 'ENOENT') || error instanceof CacheError) return act();
    if (isSystemError(error, 'EACCES', 'EPERM')) return undefined;
    throw error;
  }
  await using handle = opened;
  if (!tryFlock(handle.fd, 'exclusive') || !isSameFile(handle.fd, marker)) return undefined;
  return await act();
}

/** Empty quarantines, and damage marks of blobs that do not exist. */
export async function emptyRemains(root: string): Promise<Leftover[]> {
  const folder = join(root, WORKSPACE_FOLDER);
  const found: Leftover[] = [];
  for (const name of (await namesIn(folder)).filter(isQuarantine)) {
    const path = join(folder, name);
    if ((await namesIn(path)).length === 0) found.push({ path, size: 0, remove: () => removeQuarantine(path) });
  }
  const quarantined = new Set((await quarantinedBlobs(root)).map(({ digest }) => digest));
  const knownDamaged = new KnownDamaged(root);
  for (const [digest, paths] of await knownDamaged.marks()) {
    if (quarantined.has(digest) || (await exists(join(root, 'blobs', ...splitDigest(digest))))) continue;
    for (const path of paths) found.push({ path, size: 0, remove: () => knownDamaged.remove(digest) });
  }
  return found;
}

/** BuildKit's unfinished blobs, a folder each: containerd, plugins/content/local/store.go. */
export async function ingests(root: string): Promise<{ path: string; size: number; time: number }[]> {
  const found = [];
  for (const name of await namesIn(join(root, 'ingest'))) {
    if (!/^[0-9a-f]{64}$/.test(name)) continue;
    const path = join(root, 'ingest', name);
    const parts = [await touched(path)];
    for (const inner of await namesIn(path)) parts.push(await touched(join(path, inner)));
    found.push({
      path,
      size: parts.slice(1).reduce((sum, part) => sum + (part?.size ?? 0), 0),
      time: parts.reduce((latest, part) => Math.max(latest, part?.time ?? 0), 0),
    });
  }
  return found;
}

async function touched(path: string): Promise<{ size: number; time: number } | undefined> {
  try {
    const { size, mtimeMs, ctimeMs } = await lstat(path);
    return { size, time: Math.max(mtimeMs, ctimeMs) };
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  }
}

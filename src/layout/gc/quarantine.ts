import { linkSync, lstatSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { letOthersRun } from '../../bytes/let-others-run.js';
import { isSystemError } from '../../errors.js';
import { type Digest, splitDigest } from '../../oci/digest.js';
import { namesIn } from '../blobs/blob-list.js';
import { isLocal, statOf } from '../files/local-disk.js';
import { inheritFolder } from '../files/ownership.js';
import { digestOfName, portableName } from '../files/portable-name.js';
import { WORKSPACE_FOLDER } from '../workspace/workspace.js';

/**
 * A blob that was moved out of `blobs/` into a quarantine, a folder of `.bkcache` whose name says when. A writer that needs
 * the blob afterwards does not find it, and writes it again; for a writer that found it before, gc restores it.
 */
export interface QuarantinedBlob {
  readonly digest: Digest;
  readonly path: string;
  /** When it was moved, in milliseconds since 1970. */
  readonly since: number;
  /** A damaged blob is not restored. */
  readonly damaged: boolean;
  /** In bytes. */
  readonly size: number;
}

const FOLDER = /^(removed|damaged)-(\d+)$/;

/** Whether a name in `.bkcache` is that of a quarantine. */
export function isQuarantine(name: string): boolean {
  return FOLDER.test(name);
}

/** The blobs in the quarantines of a layout. */
export async function quarantinedBlobs(root: string): Promise<QuarantinedBlob[]> {
  const blobs: QuarantinedBlob[] = [];
  for (const name of await namesIn(join(root, WORKSPACE_FOLDER))) {
    const [, kind, since] = FOLDER.exec(name) ?? [];
    if (since === undefined) continue;
    const folder = join(root, WORKSPACE_FOLDER, name);
    for (const file of await namesIn(folder)) {
      const digest = digestOfName(file);
      const path = join(folder, file);
      const stats = await statOf(path);
      if (stats === undefined || digest === undefined) continue;
      blobs.push({ digest, path, since: Number(since), damaged: kind === 'damaged', size: stats.size });
    }
  }
  return blobs;
}

/**
 * Moves a file, or anything else in the place of a blob, to quarantine. Synchronous, since gc does it under the lock on
 * index.json; so is `restore`.
 */
export function moveToQuarantine(
  root: string,
  {
    digest,
    path,
    size,
    damaged = false,
  }: Pick<QuarantinedBlob, 'digest' | 'path' | 'size'> & { readonly damaged?: boolean },
  now: number,
): QuarantinedBlob {
  const folder = quarantine(root, now, damaged);
  const to = join(folder, portableName(digest));
  for (;;) {
    try {
      renameSync(path, to);
      return { digest, path: to, since: now, damaged, size };
    } catch (error) {
      // The folder is made when it is needed; another process may have removed an empty one.
      if (!isSystemError(error, 'ENOENT') || isThere(folder) || !isThere(path)) throw error;
      makeFolders(folder);
    }
  }
}

/** Makes the folder for the blobs that gc is going to move, so that it is not made under the lock. */
export function makeQuarantine(root: string, now: number): void {
  makeFolders(quarantine(root, now, false));
}

function quarantine(root: string, now: number, damaged: boolean): string {
  return join(root, WORKSPACE_FOLDER, `${damaged ? 'damaged' : 'removed'}-${now}`);
}

function makeFolders(folder: string): void {
  for (const needed of [dirname(folder), folder]) makeFolderNow(needed, { shared: true });
}

/** Moves a blob back to `blobs/`, unless a writer has written it again in the meantime, or another process was faster. */
export function restore(root: string, { digest, path }: QuarantinedBlob): void {
  const to = join(root, 'blobs', ...splitDigest(digest));
  if (!isThere(dirname(to)))
    for (const needed of [dirname(dirname(to)), dirname(to)]) makeFolderNow(needed, { shared: false });
  try {
    linkSync(path, to);
  } catch (error) {
    if (isSystemError(error, 'EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'EMLINK', 'ENOSYS')) return renameSync(path, to);
    if (isSystemError(error, 'ENOENT') && !isThere(path)) return;
    if (!isSystemError(error, 'EEXIST')) throw error;
  }
  rmSync(path, { force: true });
}

function makeFolderNow(path: string, inherit: { readonly shared: boolean }): void {
  try {
    mkdirSync(path);
    inheritFolder(path, inherit);
  } catch (error) {
    // The folder above it may have been removed as well; the next try makes it.
    if (!isSystemError(error, 'EEXIST', 'ENOENT')) throw error;
  }
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** Deletes blobs in quarantine, and the folders that are empty then, `.bkcache` included. */
export async function removeQuarantined(root: string, blobs: readonly QuarantinedBlob[]): Promise<void> {
  for (const { path } of blobs) {
    if (await isLocal(dirname(path))) {
      rmSync(path, { recursive: true, force: true });
      await letOthersRun();
    } else await rm(path, { recursive: true, force: true });
  }
  for (const folder of new Set(blobs.map(({ path }) => dirname(path)))) await removeQuarantine(folder);
  await removeWhenEmpty(join(root, WORKSPACE_FOLDER));
}

/** Removes a quarantine, and `.bkcache`, when they are empty. */
export async function removeQuarantine(folder: string): Promise<void> {
  for (const path of [folder, dirname(folder)]) await removeWhenEmpty(path);
}

async function removeWhenEmpty(folder: string): Promise<void> {
  await rmdir(folder).catch((error: unknown) => {
    if (!isSystemError(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST', 'EBUSY', 'EPERM', 'EACCES')) throw error;
  });
}

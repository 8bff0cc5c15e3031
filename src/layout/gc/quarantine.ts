import { linkSync, lstatSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { lstat, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isSystemError } from '../../errors.js';
import { type Digest, splitDigest } from '../../oci/digest.js';
import { namesIn } from '../blobs/blob-list.js';
import { inheritFolder } from '../files/ownership.js';
import { digestOfName, portableName } from '../files/portable-name.js';
import { WORKSPACE_FOLDER } from '../workspace/workspace.js';

/**
 * A blob that was taken out of `blobs/`, in a folder of `.bkcache` whose name says when. A writer that needs it from
 * then on does not find it, and writes it anew; one that found it before gets it back.
 */
export interface AsideBlob {
  readonly digest: Digest;
  readonly path: string;
  /** When it was set aside, in milliseconds since 1970. */
  readonly since: number;
  /** A damaged one is not put back. */
  readonly damaged: boolean;
  /** In bytes. */
  readonly size: number;
}

const FOLDER = /^(removed|damaged)-(\d+)$/;

/** Whether something in `.bkcache` is a folder of blobs that were set aside. */
export function isAsideFolder(name: string): boolean {
  return FOLDER.test(name);
}

/** The blobs that are set aside in a layout. */
export async function asideBlobs(root: string): Promise<AsideBlob[]> {
  const blobs: AsideBlob[] = [];
  for (const name of await namesIn(join(root, WORKSPACE_FOLDER))) {
    const [, kind, since] = FOLDER.exec(name) ?? [];
    if (since === undefined) continue;
    const folder = join(root, WORKSPACE_FOLDER, name);
    for (const file of await namesIn(folder)) {
      const digest = digestOfName(file);
      const path = join(folder, file);
      const stats = await lstat(path).catch((error: unknown) => {
        if (isSystemError(error, 'ENOENT')) return undefined;
        throw error;
      });
      if (stats === undefined || digest === undefined) continue;
      blobs.push({ digest, path, since: Number(since), damaged: kind === 'damaged', size: stats.size });
    }
  }
  return blobs;
}

/**
 * Takes a file, or whatever stands in the place of a blob, out of `blobs/`. Synchronous, since gc does it under the lock
 * on index.json; so is `putBack`.
 */
export function setAside(
  root: string,
  { digest, path, size, damaged = false }: Pick<AsideBlob, 'digest' | 'path' | 'size'> & { readonly damaged?: boolean },
  now: number,
): AsideBlob {
  const folder = join(root, WORKSPACE_FOLDER, `${damaged ? 'damaged' : 'removed'}-${now}`);
  const to = join(folder, portableName(digest));
  for (;;) {
    try {
      renameSync(path, to);
      return { digest, path: to, since: now, damaged, size };
    } catch (error) {
      // The folder is made when it is needed; another process that went may have taken the empty one along.
      if (!isSystemError(error, 'ENOENT') || isThere(folder) || !isThere(path)) throw error;
      for (const needed of [dirname(folder), folder]) makeFolderNow(needed, { shared: true });
    }
  }
}

/** Puts a blob back, unless a writer has put a new one there in the meantime, or another process was faster. */
export function putBack(root: string, { digest, path }: AsideBlob): void {
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
    // The folder above it may have been taken along as well; the next try makes it.
    if (!isSystemError(error, 'EEXIST', 'ENOENT')) throw error;
  }
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** Removes what is aside for good, and folders that are empty then. */
export async function forget(root: string, blobs: readonly AsideBlob[]): Promise<void> {
  for (const { path } of blobs) await rm(path, { recursive: true, force: true });
  for (const folder of new Set(blobs.map(({ path }) => dirname(path)))) await removeWhenEmpty(folder);
  await removeWhenEmpty(join(root, WORKSPACE_FOLDER));
}

/** Removes a folder when there is nothing in it. */
export async function removeWhenEmpty(folder: string): Promise<void> {
  await rmdir(folder).catch((error: unknown) => {
    if (!isSystemError(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST', 'EBUSY', 'EPERM', 'EACCES')) throw error;
  });
}

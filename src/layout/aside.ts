import { link, lstat, rename, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isSystemError } from '../errors.js';
import { type Digest, isDigest, splitDigest } from '../oci/digest.js';
import { exists, makeFolder } from './durable.js';
import { namesIn } from './blob-list.js';
import { WORKSPACE_FOLDER } from './workspace.js';

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

/** The blobs that are set aside in a layout. */
export async function asideBlobs(root: string): Promise<AsideBlob[]> {
  const blobs: AsideBlob[] = [];
  for (const name of await namesIn(join(root, WORKSPACE_FOLDER))) {
    const [, kind, since] = FOLDER.exec(name) ?? [];
    if (since === undefined) continue;
    const folder = join(root, WORKSPACE_FOLDER, name);
    for (const digest of await namesIn(folder)) {
      const path = join(folder, digest);
      const stats = await lstat(path).catch((error: unknown) => {
        if (isSystemError(error, 'ENOENT')) return undefined;
        throw error;
      });
      if (stats === undefined || !isDigest(digest)) continue;
      blobs.push({ digest, path, since: Number(since), damaged: kind === 'damaged', size: stats.size });
    }
  }
  return blobs;
}

/** Takes a file, or whatever stands in the place of a blob, out of `blobs/`. */
export async function setAside(
  root: string,
  { digest, path, size, damaged = false }: Pick<AsideBlob, 'digest' | 'path' | 'size'> & { readonly damaged?: boolean },
  now: number,
): Promise<AsideBlob> {
  const folder = join(root, WORKSPACE_FOLDER, `${damaged ? 'damaged' : 'removed'}-${now}`);
  const to = join(folder, digest);
  for (;;) {
    await makeFolder(folder, { durable: false });
    try {
      await rename(path, to);
      return { digest, path: to, since: now, damaged, size };
    } catch (error) {
      // Another process that went may have taken the empty folder along.
      if (!isSystemError(error, 'ENOENT') || (await exists(folder))) throw error;
    }
  }
}

/** Puts a blob back, unless a writer has put a new one there in the meantime, or another process was faster. */
export async function putBack(root: string, { digest, path }: AsideBlob): Promise<void> {
  const to = join(root, 'blobs', ...splitDigest(digest));
  await makeFolder(dirname(to), { durable: true });
  try {
    await link(path, to);
  } catch (error) {
    if (isSystemError(error, 'EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'EMLINK')) return rename(path, to);
    if (isSystemError(error, 'ENOENT') && !(await exists(path))) return;
    if (!isSystemError(error, 'EEXIST')) throw error;
  }
  await rm(path, { force: true });
}

/** Removes what is aside for good, and folders that are empty then. */
export async function forget(root: string, blobs: readonly AsideBlob[]): Promise<void> {
  for (const { path } of blobs) await rm(path, { recursive: true, force: true });
  for (const folder of new Set(blobs.map(({ path }) => dirname(path)))) await removeWhenEmpty(folder);
  await removeWhenEmpty(join(root, WORKSPACE_FOLDER));
}

async function removeWhenEmpty(folder: string): Promise<void> {
  await rmdir(folder).catch((error: unknown) => {
    if (!isSystemError(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST', 'EBUSY')) throw error;
  });
}

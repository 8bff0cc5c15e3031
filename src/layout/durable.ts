import { lstat, mkdir, open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isSystemError } from '../errors.js';

/**
 * Makes a folder's names survive a power cut, what was created in it, renamed or removed; or a file's bytes, which need
 * that before their name.
 */
export async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } catch (error) {
    // Some network and user-space filesystems cannot; they promise nothing about names either way.
    if (!isSystemError(error, 'EINVAL', 'ENOTSUP', 'EOPNOTSUPP')) throw error;
  } finally {
    await handle.close();
  }
}

/**
 * Makes a folder and those above it, and makes the new ones survive a power cut. Node's own `recursive` hides why that
 * fails on a read-only filesystem, and never returns on some others.
 */
export async function makeFolder(path: string, { durable }: { readonly durable: boolean }): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    if (isSystemError(error, 'EEXIST')) return;
    if (!isSystemError(error, 'ENOENT') || dirname(path) === path) throw error;
    // Another process may make the same folders at this moment; a second failure is one.
    if (!(await isFolder(dirname(path)))) await makeFolder(dirname(path), { durable });
    await mkdir(path).catch((again: unknown) => {
      if (!isSystemError(again, 'EEXIST')) throw again;
    });
  }
  if (durable) await syncPath(dirname(path));
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
}

/** Writes a new file, whole and synced; nobody else may have one there. */
export async function writeNewFile(
  path: string,
  bytes: Uint8Array,
  { durable, mode = 0o644 }: { readonly durable: boolean; readonly mode?: number },
): Promise<void> {
  const handle = await open(path, 'wx', mode);
  try {
    await handle.writeFile(bytes);
    if (durable) await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Whether there is anything at a path, even a link to nowhere. */
export async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    (error: unknown) => {
      if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return false;
      throw error;
    },
  );
}

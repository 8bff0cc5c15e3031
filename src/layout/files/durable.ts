import { type FileHandle, mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isSystemError } from '../../errors.js';
import { statOf } from './local-disk.js';
import { createFile, openFolder } from './open-file.js';
import { inheritFolder, inheritOwnership } from './ownership.js';

/** Fsyncs a directory: what was created in it, renamed or removed survives a power cut. */
export async function syncFolder(path: string): Promise<void> {
  let handle: FileHandle | undefined;
  try {
    handle = await openFolder(path);
    await handle.sync();
  } catch (error) {
    // Some have syncs for files, and none for folders.
    if (!cannotSync(error) && !isSystemError(error, 'EPERM', 'EACCES', 'EBADF', 'EISDIR')) throw error;
  } finally {
    await handle?.close();
  }
}

/** Fsyncs a file, which has to be done before its directory is synced. */
export async function syncFile(handle: FileHandle): Promise<void> {
  try {
    await handle.sync();
  } catch (error) {
    if (!cannotSync(error)) throw error;
  }
}

/** Whether a filesystem has no syncs, as some network and user-space ones: they promise nothing either way. */
export function cannotSync(error: unknown): boolean {
  return isSystemError(error, 'EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS');
}

interface FolderOptions {
  readonly durable: boolean;
  /** The owner: the user who makes it, or that of the parent folder; `shared` also takes the mode of the parent. */
  readonly inherit?: 'nothing' | 'owner' | 'shared';
}

/**
 * Makes a folder and its missing parents, and fsyncs the directories of the new ones. Node's own `recursive` hides why that
 * fails on a read-only filesystem, and never returns on some others.
 */
export async function makeFolder(path: string, options: FolderOptions): Promise<void> {
  const { durable, inherit = 'owner' } = options;
  // Most are there: to fail to make a folder takes longer than to look for it.
  if ((await statOf(path))?.isDirectory() === true) return;
  try {
    await mkdir(path);
  } catch (error) {
    if (isSystemError(error, 'EEXIST')) return;
    if (!isSystemError(error, 'ENOENT') || dirname(path) === path) throw error;
    // Another process may make the same folders at this moment; a second failure is one.
    if (!(await isFolder(dirname(path)))) await makeFolder(dirname(path), options);
    try {
      await mkdir(path);
    } catch (again) {
      if (!isSystemError(again, 'EEXIST')) throw again;
      return;
    }
  }
  if (inherit !== 'nothing') inheritFolder(path, { shared: inherit === 'shared' });
  if (durable) await syncFolder(dirname(path));
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
}

/**
 * Writes a new file, whole and synced. The path must be free.
 *
 * @param place - where it will be renamed to: the file takes the owner, group and mode of its predecessor
 */
export async function writeNewFile(
  path: string,
  bytes: Uint8Array,
  { durable, place = path }: { readonly durable: boolean; readonly place?: string },
): Promise<void> {
  const handle = await createFile(path);
  try {
    await handle.writeFile(bytes);
    inheritOwnership(handle.fd, place);
    if (durable) await syncFile(handle);
  } finally {
    await handle.close();
  }
}

/** Whether there is anything at a path, even a link to nowhere. */
export async function exists(path: string): Promise<boolean> {
  return (await statOf(path)) !== undefined;
}

import { lstatSync, type Stats } from 'node:fs';
import { lstat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { letOthersRun } from '../../bytes/let-others-run.js';
import { isSystemError } from '../../errors.js';

// A file on a disk of this machine is looked at and read by the main thread itself: to have one of libuv's threads do it
// takes ten times as long. On a network disk that is gone, and on filesystems in user space, such a call may hang, and no
// signal would stop the command; there another thread makes it.

/** The filesystems of Linux on disks of this machine and in its memory (statfs(2), linux/magic.h). */
const LOCAL: ReadonlySet<number> = new Set([
  0xef53, // ext2, ext3, ext4
  0x58465342, // XFS
  0x9123683e, // Btrfs
  0x2fc12fc1, // ZFS
  0xca451a4e, // bcachefs
  0xf2f52010, // F2FS
  0x01021994, // tmpfs
  0x858458f6, // ramfs
  0x794c7630, // overlayfs
]);

const known = new Map<string, boolean>();

/** Whether a folder is on a disk of this machine, where calls take microseconds. Where that is not known, it is not. */
export async function isLocal(folder: string): Promise<boolean> {
  const before = known.get(folder);
  if (before !== undefined) return before;
  if (process.platform !== 'linux') return false;
  try {
    const found = LOCAL.has((await statfs(folder)).type);
    known.set(folder, found);
    return found;
  } catch (error) {
    if (isSystemError(error)) return false;
    throw error;
  }
}

/** What is at a path, links not followed; undefined when nothing is. */
export async function statOf(path: string): Promise<Stats | undefined> {
  try {
    if (!(await isLocal(dirname(path)))) return await lstat(path);
    await letOthersRun();
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}

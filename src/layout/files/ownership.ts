import { chmodSync, chownSync, fchmodSync, fchownSync, fstatSync, lstatSync, type Stats, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { isSystemError } from '../../errors.js';

// Who may use the files of a layout. BuildKit writes index.json in place, as the user of a build, and so fails on a file
// that is another user's since a rename. What a filesystem refuses of this is no reason to stop: it keeps no owners or
// modes then, or has its own. Each of these calls takes microseconds.

const SETGID = 0o2000;
const STICKY = 0o1000;

/**
 * Gives a new file the owner, group and mode of the file that it will replace. Where there is none, the umask says who
 * may use it, and root leaves it to the owner of the folder.
 *
 * @param place - where the file is, or will be renamed to
 * @param shared - for files that every writer adds to, whatever the umask of the first one was
 */
export function inheritOwnership(fd: number, place: string, { shared = false } = {}): void {
  const [made, folder] = [fstatSync(fd), statSync(dirname(place))];
  const old = lstatSync(place, { throwIfNoEntry: false });
  const file = changesOf(fd);
  if (old?.isFile() !== true || (old.ino === made.ino && old.dev === made.dev)) {
    own(file, made, folder);
    return setMode(file, made, made.mode | (shared ? folder.mode & 0o666 : sharedBits(folder, 0o060)));
  }
  let now = give(file, made, { uid: isRoot() ? old.uid : made.uid, gid: old.gid });
  // The group of a shared folder is the next best: its members lose nothing.
  if (now.gid !== old.gid && (folder.mode & 0o020) !== 0) now = give(file, now, { uid: now.uid, gid: folder.gid });
  setMode(file, made, old.mode | (now.uid === old.uid ? 0 : formerOwnerBits(old, now, folder)));
}

/**
 * Makes a new blob read-only, as containerd does (content/local/writer.go, Commit): who may read it, the umask says.
 *
 * @param root - the folder of the layout
 * @param mode - that of a file that was just made; left out where the blob is one
 */
export function settleBlob(fd: number, root: string, mode?: number): void {
  const made = fstatSync(fd);
  const file = changesOf(fd);
  own(file, made, statSync(root));
  setMode(file, made, (mode ?? made.mode) & 0o444);
}

/**
 * The same for a new folder inside a layout, but for its mode: users of the parent folder can work in it.
 *
 * @param shared - for folders that every writer needs, whatever the umask of the first one was
 */
export function inheritFolder(path: string, { shared }: { readonly shared: boolean }): void {
  const [made, parent] = [path, dirname(path)].map((folder) => statSync(folder, { throwIfNoEntry: false }));
  // A process that went has taken it along, since it was empty.
  if (made === undefined || parent === undefined) return;
  const folder = {
    chown: (uid: number, gid: number) => chownSync(path, uid, gid),
    chmod: (mode: number) => chmodSync(path, mode),
  };
  own(folder, made, parent);
  const bits = made.mode | (shared ? parent.mode & (STICKY | 0o777) : sharedBits(parent, 0o070));
  // With the setgid bit that it has from the folder above it.
  if (bits !== made.mode) unlessRefused(() => folder.chmod(bits & 0o7777));
}

interface Changes {
  readonly chown: (uid: number, gid: number) => void;
  readonly chmod: (mode: number) => void;
}

type Owner = Pick<Stats, 'uid' | 'gid'>;

function changesOf(fd: number): Changes {
  return { chown: (uid, gid) => fchownSync(fd, uid, gid), chmod: (mode) => fchmodSync(fd, mode) };
}

function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

/** Leaves what root has made to the owner of a folder. For others the group alone can be heeded. */
function own(file: Changes, made: Stats, folder: Stats): void {
  if (made.uid !== process.geteuid?.()) return;
  if (isRoot()) give(file, made, folder);
  else if ((folder.mode & SETGID) !== 0) give(file, made, { uid: made.uid, gid: folder.gid });
}

/** @returns what they are then */
function give(file: Changes, now: Owner, { uid, gid }: Owner): Owner {
  if (now.uid === uid && now.gid === gid) return now;
  return unlessRefused(() => file.chown(uid, gid)) ? { uid, gid } : now;
}

function setMode(file: Changes, { mode: now }: Stats, mode: number): void {
  if ((now & 0o777) !== (mode & 0o777)) unlessRefused(() => file.chmod(mode & 0o777));
}

/** What a folder's group may do with new files in it; the setgid bit says that the folder is shared. */
function sharedBits(folder: Stats, mask: number): number {
  return (folder.mode & SETGID) === 0 ? 0 : folder.mode & mask;
}

/** So that the former owner can go on writing: to those who could replace the file anyway. */
function formerOwnerBits(old: Stats, now: Owner, folder: Stats): number {
  if ((folder.mode & STICKY) !== 0) return 0;
  const group = now.gid === folder.gid && (folder.mode & 0o020) !== 0 ? (old.mode & 0o600) >> 3 : 0;
  const others = (folder.mode & 0o002) !== 0 ? (old.mode & 0o600) >> 6 : 0;
  return group | others;
}

/** @returns whether it was done */
function unlessRefused(change: () => void): boolean {
  try {
    change();
    return true;
  } catch (error) {
    // SMB, Azure Files, FAT and filesystems in user space; users who are not allowed to; a folder that was removed.
    if (isSystemError(error, 'EPERM', 'EACCES', 'ENOTSUP', 'EOPNOTSUPP', 'EINVAL', 'ENOSYS', 'ENOENT')) return false;
    throw error;
  }
}

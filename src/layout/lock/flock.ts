import koffi from 'koffi';
import { native } from '../files/native-exit.js';

export type LockKind = 'shared' | 'exclusive';
/** As `tryFlock`, for those who have loaded it: what it needs takes some milliseconds to load. */
export type Flock = typeof tryFlock;

// sys/file.h, the same on Linux, macOS and the BSDs.
const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;

const system = koffi.load(null);
const flock = system.func('int flock(int fd, int operation)') as (fd: number, operation: number) => number;
native.exit = system.func('void _exit(int status)') as (status: number) => void;

/**
 * flock(2), without waiting. Node has no binding for it, and no other kind of lock is seen by BuildKit. Closing the
 * file gives the lock up.
 *
 * @returns false when another open file has the lock
 * @throws Error with the system's `code` for anything else, such as a filesystem without locks
 */
export function tryFlock(fd: number, kind: LockKind): boolean {
  if (flock(fd, (kind === 'shared' ? LOCK_SH : LOCK_EX) | LOCK_NB) === 0) return true;
  const errno = koffi.errno();
  if (errno === koffi.os.errno['EWOULDBLOCK'] || errno === koffi.os.errno['EAGAIN']) return false;
  const [code = `errno ${errno}`] = Object.entries(koffi.os.errno).find(([, value]) => value === errno) ?? [];
  throw Object.assign(new Error(`flock: ${code}`), { code, errno });
}

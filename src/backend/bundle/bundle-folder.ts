import { type FileHandle, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isSystemError } from '../../errors.js';
import { createFile, openRegular } from '../../layout/files/open-file.js';
import type { tryFlock } from '../../layout/lock/flock.js';

const LOCK = 'lock';
/** A younger folder may be one whose process has not locked it yet; in milliseconds. */
const YOUNG = 10_000;

/**
 * A folder for what a bundle is made of until it is written: it is next to the bundle, so that a rename suffices. Its
 * process has a lock in it, and a folder without one is left over from a kill: the next writer of the bundle removes it.
 */
export class BundleFolder implements AsyncDisposable {
  readonly path: string;
  readonly #lock: FileHandle;

  private constructor(path: string, lock: FileHandle) {
    this.path = path;
    this.#lock = lock;
  }

  /** @param place - the path of the bundle, or of its first part */
  static async make(place: string): Promise<BundleFolder> {
    const { tryFlock } = await import('../../layout/lock/flock.js');
    const prefix = `.${basename(place)}.bkcache-`;
    await removeLeftovers(dirname(place), prefix, tryFlock);
    const path = await mkdtemp(join(dirname(place), prefix));
    const lock = await createFile(join(path, LOCK));
    lockOrNot(lock, tryFlock);
    return new BundleFolder(path, lock);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
    await this.#lock.close();
  }
}

async function removeLeftovers(parent: string, prefix: string, flock: typeof tryFlock): Promise<void> {
  const names = await readdir(parent).catch(() => []);
  for (const name of names.filter((one) => one.startsWith(prefix))) {
    const path = join(parent, name);
    const lock = await openRegular(join(path, LOCK)).catch(() => undefined);
    if (lock === undefined) continue;
    try {
      const isOld = Date.now() - (await stat(path)).mtimeMs > YOUNG;
      if (isOld && lockOrNot(lock, flock)) await rm(path, { recursive: true, force: true });
    } catch (error) {
      // Another process removes it at this moment, or it is of another user.
      if (!isSystemError(error)) throw error;
    } finally {
      await lock.close();
    }
  }
}

/** @returns false also on a filesystem without locks, where nobody knows who is at work */
function lockOrNot(file: FileHandle, flock: typeof tryFlock): boolean {
  try {
    return flock(file.fd, 'exclusive');
  } catch {
    return false;
  }
}

import { createHash } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError } from '../../../errors.js';
import { openToAppend } from '../../../layout/files/open-file.js';
import { isSameFile } from '../../../layout/files/same-file.js';
import { readSmallFile } from '../../../layout/files/small-file.js';
import { userFile } from '../../user-file.js';

/**
 * The upload in parts of one object by this user on this machine. What the service calls it is written down, so that a run
 * after one that was killed goes on with it. The uploads of others are nobody's to end: BuildKit may be at work on them.
 */
export interface UnfinishedUpload extends AsyncDisposable {
  /** What the service calls the upload that an earlier run left; undefined where there is none. */
  readonly id: string | undefined;
  /** Writes down an upload that has begun. */
  remember(id: string): Promise<void>;
  /** The upload has ended. */
  forget(): Promise<void>;
}

/** For a user without a home, and where another process is at work on the same object. */
const UNKNOWN: UnfinishedUpload = {
  id: undefined,
  remember: () => Promise.resolve(),
  forget: () => Promise.resolve(),
  [Symbol.asyncDispose]: () => Promise.resolve(),
};

/**
 * Claims the upload of an object until disposal.
 *
 * @param object - names the object and its service
 */
export async function claimUpload(object: string): Promise<UnfinishedUpload> {
  const folder = userFile('bkcache-uploads');
  if (folder === undefined) return UNKNOWN;
  const path = join(folder, createHash('sha256').update(object).digest('hex'));
  try {
    return await claim(folder, path);
  } catch (error) {
    // To go on with an upload saves time, and no more: a home that is full or cannot be written to is no failure.
    if (error instanceof Error) return UNKNOWN;
    throw error;
  }
}

async function claim(folder: string, path: string): Promise<UnfinishedUpload> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const [handle, { tryFlock }] = await Promise.all([
    openToAppend(path, 0o600),
    import('../../../layout/lock/flock.js'),
  ]);
  try {
    // A file that another process has deleted meanwhile is locked by nobody else, and is not the one of the path.
    if (!tryFlock(handle.fd, 'exclusive') || !isSameFile(handle.fd, path)) {
      await handle.close();
      return UNKNOWN;
    }
    const written = (await readSmallFile(handle, path)).toString();
    return {
      // The last line is cut off where the process was killed while it wrote.
      id: written.split('\n').at(-2),
      async remember(id) {
        await handle.appendFile(`${id}\n`).catch(ignore);
      },
      async forget() {
        await rm(path, { force: true }).catch(ignore);
      },
      [Symbol.asyncDispose]: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

function ignore(error: unknown): void {
  if (!isSystemError(error)) throw error;
}

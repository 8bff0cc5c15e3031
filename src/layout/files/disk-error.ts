import { CacheError, isSystemError, systemCode } from '../../errors.js';

/**
 * Writes into a layout, and says of a disk that cannot take it which one that is.
 *
 * @param root - the folder of the layout
 * @throws CacheError FAILED for a disk that is full or fails, for a file that is too large for it, and when another process has
 *   deleted the folder meanwhile
 */
export async function writingTo<T>(root: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    const told = isSystemError(error) && error.syscall !== 'read' ? EXPLAINED[systemCode(error)] : undefined;
    if (isSystemError(error, 'ENOENT') && error.path?.startsWith(root) === true) throw deleted(root, error);
    if (told === undefined) throw error;
    const { what, hint } = told;
    throw new CacheError('FAILED', `${what}: ${root} (${(error as Error).message})`, {
      hint,
      side: 'export',
      cause: error,
    });
  }
}

/** What is thrown when files are gone that were there, or were written, a moment before. */
export function deleted(root: string, cause?: unknown): CacheError {
  return new CacheError('FAILED', `somebody deleted files in ${root} while it was written to`, {
    hint: 'run this again',
    side: 'export',
    cause,
  });
}

const AGAIN = 'run it again: what is whole there by now is not copied again';

const EXPLAINED: Readonly<Record<string, { readonly what: string; readonly hint: string }>> = {
  ENOSPC: { what: 'the disk is full', hint: `make room, and ${AGAIN}` },
  EDQUOT: { what: "the user's quota of the disk is used up", hint: `make room, and ${AGAIN}` },
  EFBIG: {
    what: 'a file is too large for that filesystem',
    hint: 'FAT32 holds up to 4 GiB a file; exFAT has no limit',
  },
  EIO: { what: 'the disk fails', hint: 'the log of the system says more; copy to another disk' },
};

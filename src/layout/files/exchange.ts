import koffi from 'koffi';

// linux/fcntl.h and linux/fs.h.
const AT_FDCWD = -100;
const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;

type Renameat2 = (fromFolder: number, from: string, toFolder: number, to: string, flags: number) => number;

/** renameat2(2) is Linux's, and not in every libc. */
const renameat2 = ((): Renameat2 | undefined => {
  if (process.platform !== 'linux') return undefined;
  try {
    const types = 'int renameat2(int fromFolder, str from, int toFolder, str to, unsigned int flags)';
    return koffi.load(null).func(types) as Renameat2;
  } catch {
    return undefined;
  }
})();

/**
 * Swaps two files in one step: afterwards the first path has exactly what was under the second one until then. Node has
 * no binding for it.
 *
 * @returns false where that was not done, whatever the reason: some filesystems cannot
 */
export function tryExchange(a: string, b: string): boolean {
  return renameat2?.(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) === 0;
}

/**
 * Renames a file unless there is one of the new name.
 *
 * @returns 'unable' where that was not done for any other reason
 */
export function tryRenameNew(from: string, to: string): 'done' | 'exists' | 'unable' {
  const outcome = renameat2?.(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
  if (outcome === 0) return 'done';
  return outcome !== undefined && koffi.errno() === koffi.os.errno['EEXIST'] ? 'exists' : 'unable';
}

/** For those who have loaded it: what it needs takes some milliseconds to load. */
export interface Exchange {
  readonly tryExchange: typeof tryExchange;
  readonly tryRenameNew: typeof tryRenameNew;
}

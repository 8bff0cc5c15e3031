import { CacheError, isSystemError } from '../errors.js';
import { openRegular, openToAppend } from '../layout/files/open-file.js';
import { readSmallFile } from '../layout/files/small-file.js';
import { newKey, Tokens } from './tokens.js';

/** Others than the owner. */
const OTHERS = 0o077;

/**
 * The tokens of a key file, which is made when it is missing: for its owner alone.
 *
 * @throws CacheError USAGE for a file that others may read, or that has no key
 */
export async function tokensIn(path: string): Promise<Tokens> {
  await make(path);
  await using handle = await openRegular(path);
  const { mode } = await handle.stat();
  if ((mode & OTHERS) !== 0) {
    throw new CacheError('USAGE', `others may read ${path}, and make tokens with it`, { hint: `chmod 600 ${path}` });
  }
  return new Tokens(await readSmallFile(handle, path), path);
}

async function make(path: string): Promise<void> {
  try {
    await using handle = await openToAppend(path, 0o600);
    // Two processes that make it at once add two lines, and both use the first.
    if ((await handle.stat()).size === 0) await handle.appendFile(newKey());
  } catch (error) {
    // A file that may only be read has a key already.
    if (!isSystemError(error, 'EACCES', 'EROFS')) throw error;
  }
}

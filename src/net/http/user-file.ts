import { constants } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { CacheError } from '../../errors.js';

/** The most that a configuration or a bundle of certificates may have, in bytes. */
const LIMIT = 16 * 1024 * 1024;

/**
 * A file that the user has named or a program has left, as text. Links are followed, since these are made of them; what
 * has no end is given up, and a pipe is only waited for where one is expected.
 *
 * @param pipe - whether it may be a pipe, as of `<(…)` in a shell
 * @throws CacheError FAILED for what is no file, and for more than 16 MiB; the system's errors
 */
export async function readUserFile(path: string, { pipe = false } = {}): Promise<string> {
  const kind = await stat(path);
  if (kind.isFIFO() ? !pipe : !kind.isFile() && !kind.isCharacterDevice()) {
    throw new CacheError('FAILED', 'it is no file');
  }
  // What was a file may be a pipe by now, and is not to be waited for.
  const handle = await open(path, constants.O_RDONLY | (kind.isFIFO() ? 0 : constants.O_NONBLOCK));
  try {
    const chunks: Uint8Array[] = [];
    let size = 0;
    for (;;) {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(64 * 1024));
      if (bytesRead === 0) return Buffer.concat(chunks).toString();
      size += bytesRead;
      if (size > LIMIT) throw new CacheError('FAILED', `it has more than ${LIMIT} bytes`);
      chunks.push(buffer.subarray(0, bytesRead));
    }
  } finally {
    await handle.close();
  }
}

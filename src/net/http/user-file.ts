import { constants } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { CacheError } from '../../errors.js';

/** The largest configuration or certificate bundle, in bytes. */
const LIMIT = 16 * 1024 * 1024;

/**
 * Reads a configuration file as text. Links are followed, since configuration is often linked. A file without an end is
 * refused at the limit, and a pipe is read only where a pipe is expected.
 *
 * @param pipe - whether the file may be a pipe, as from `<(…)` in a shell
 * @throws CacheError FAILED for something that is no file, and for more than 16 MiB; errors of the system
 */
export async function readUserFile(path: string, { pipe = false } = {}): Promise<string> {
  const kind = await stat(path);
  if (kind.isFIFO() ? !pipe : !kind.isFile() && !kind.isCharacterDevice()) {
    throw new CacheError('FAILED', 'it is not a file');
  }
  // The file may have become a pipe since; O_NONBLOCK does not wait for a writer.
  await using handle = await open(path, constants.O_RDONLY | (kind.isFIFO() ? 0 : constants.O_NONBLOCK));
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(64 * 1024));
    if (bytesRead === 0) return Buffer.concat(chunks).toString();
    size += bytesRead;
    if (size > LIMIT) throw new CacheError('FAILED', `it has more than ${LIMIT} bytes`);
    chunks.push(buffer.subarray(0, bytesRead));
  }
}

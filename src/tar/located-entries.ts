import type { ByteQueue } from '../bytes/byte-queue.js';
import { CacheError } from '../errors.js';
import { TAR_BLOCK } from './block.js';
import { readTarHeader, type TarHeader } from './header.js';

/** An entry of a tar and where it lies, in bytes from the start of the tar. */
export interface LocatedEntry {
  readonly header: TarHeader;
  /** Of the first of its header blocks. */
  readonly start: number;
  /** Of its content, which is behind its last header block. */
  readonly content: number;
}

/** A tar whose headers are read, and whose contents are read or left out: `tarEntries` is for those who read all of it. */
export interface EntrySource extends Pick<ByteQueue, 'exactly'> {
  /** Where the next byte lies. */
  readonly position: number;
  /** Goes on behind so many bytes. */
  skip(length: number): Promise<void>;
}

/**
 * The entries of a tar, to its end or to the first header that cannot be read: bytes that are no tar have none. What the
 * caller leaves of a content is skipped.
 *
 * @throws what reading throws
 */
export async function* locatedEntries(tar: EntrySource): AsyncGenerator<LocatedEntry, void, undefined> {
  let failure: unknown;
  const headers = {
    exactly: async (length: number) => {
      try {
        return await tar.exactly(length);
      } catch (error) {
        failure = error;
        throw error;
      }
    },
  };
  for (;;) {
    const start = tar.position;
    let header: TarHeader;
    try {
      const read = await readTarHeader(headers, 'layer');
      if (read.type === 'end') return;
      header = read as TarHeader;
    } catch (error) {
      if (failure !== undefined || !(error instanceof CacheError)) throw error;
      return;
    }
    const content = tar.position;
    yield { header, start, content };
    await tar.skip(content + paddedSize(header.size) - tar.position);
  }
}

/** A size with what pads it to whole blocks, in bytes. */
export function paddedSize(size: number): number {
  return Math.ceil(size / TAR_BLOCK) * TAR_BLOCK;
}

import { ByteQueue } from '../bytes/byte-queue.js';
import { damaged, TAR_BLOCK } from './block.js';
import { readTarHeader, type TarHeader } from './header.js';

/** How much of an entry's data is taken at once, in bytes. */
const AT_ONCE = 1024 * 1024;

/** An entry of a tar that is being read. */
export interface TarEntry {
  readonly header: TarHeader;
  /** The data of the entry, to be read before the next entry is taken; what is not read is skipped. */
  readonly data: AsyncIterable<Uint8Array>;
}

/**
 * Walks through a tar, one entry after the other, without holding data. Bytes after the zero blocks at its end are read and
 * dropped, so that the source can check the whole.
 *
 * @param where - the tar, for messages
 * @throws CacheError CORRUPT for a header that is none, and for data that is cut short
 */
export async function* tarEntries(
  tar: AsyncIterable<Uint8Array>,
  where: string,
): AsyncGenerator<TarEntry, void, undefined> {
  await using queue = new ByteQueue(tar);
  for (;;) {
    const header = await readTarHeader(queue, where);
    if (!('name' in header)) break;
    const padding = (TAR_BLOCK - (header.size % TAR_BLOCK)) % TAR_BLOCK;
    const left = { data: header.size };
    const rest = () => take(queue, left, () => damaged(where, `${header.name} is cut short`));
    yield { header, data: rest() };
    for await (const _ of rest());
    await queue.exactly(padding);
  }
  while ((await queue.some(AT_ONCE)).length > 0);
}

async function* take(
  queue: ByteQueue,
  left: { data: number },
  cut: () => Error,
): AsyncGenerator<Uint8Array, void, undefined> {
  while (left.data > 0) {
    const bytes = await queue.some(Math.min(left.data, AT_ONCE));
    if (bytes.length === 0) throw cut();
    left.data -= bytes.length;
    yield bytes;
  }
}

import { ByteQueue } from '../../bytes/byte-queue.js';
import { collect } from '../../bytes/collect.js';
import { CacheError } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';
import { isZero, TAR_BLOCK } from '../../tar/block.js';
import { readTarHeader, type TarHeader } from '../../tar/header.js';
import type { BundleFile } from './bundle-file.js';
import { damagedBundle, EntryJudge, paddingOf } from './tar-entries.js';

/** Where the bytes of an entry are. */
export interface Section {
  readonly offset: number;
  /** In bytes. */
  readonly size: number;
}

/** What the headers of a bundle say. */
export interface Scan {
  /** The files beside the blobs, by their names. */
  readonly documents: ReadonlyMap<string, Buffer>;
  readonly blobs: ReadonlyMap<Digest, Section>;
}

/** The zeros at the end of a tar, as far as they were read. */
export interface EndOfTar {
  readonly type: 'end';
  readonly raw: Buffer;
}

/** The most zeros behind the end of a tar, in bytes: tar fills its last record, of 10 KiB or more. */
export const MAX_END = 1024 * 1024;

/**
 * Reads the headers of a bundle in one pass, and the few files that are no blobs. No blob is read.
 *
 * @throws CacheError CORRUPT, which names the offset
 */
export async function scanBundle(file: BundleFile, signal: AbortSignal | undefined): Promise<Scan> {
  const documents = new Map<string, Buffer>();
  const blobs = new Map<Digest, Section>();
  const judge = new EntryJudge();
  for (let at = 0; ;) {
    signal?.throwIfAborted();
    const header = await headerAt(file, at);
    if (!('name' in header)) {
      await expectEnd(file, at, header.raw.length);
      return { documents, blobs };
    }
    const entry = judge.judge(header, file.at(at));
    const offset = at + header.raw.length;
    const { size } = header;
    const end = offset + size;
    if (end > file.size) throw cutShort(file, at, header.name);
    if (entry.kind === 'document') documents.set(entry.name, await collect(file.section(offset, size).open()));
    else if (entry.kind === 'blob') blobs.set(entry.digest, { offset, size });
    at = end + paddingOf(size);
    if (at > file.size) throw cutShort(file, end, header.name);
    if (at > end && !isZero(await collect(file.section(end, at - end).open()))) {
      throw damagedBundle(file.at(end), `what fills the last block of ${header.name} is not zero`);
    }
  }
}

/** @throws CacheError CORRUPT */
async function headerAt(file: BundleFile, offset: number): Promise<TarHeader | EndOfTar> {
  const where = file.at(offset);
  await using bytes = new ByteQueue(file.from(offset, TAR_BLOCK));
  return await readHeader(bytes, where, offset === 0);
}

/** @throws CacheError CORRUPT for bytes that are no header */
export async function readHeader(bytes: ByteQueue, where: string, isFirst: boolean): Promise<TarHeader | EndOfTar> {
  try {
    const header = await readTarHeader(bytes, where);
    return 'name' in header ? header : { type: 'end', raw: header.raw };
  } catch (error) {
    if (!(error instanceof CacheError) || error.code !== 'CORRUPT') throw error;
    if (isFirst) {
      throw new CacheError('CORRUPT', `${where}: this is no bundle: it does not begin as a tar does`, {
        hint: 'a bundle is a tar that is not compressed',
        wrong: 'format',
        cause: error,
      });
    }
    if ((await bytes.some(1)).length === 0) throw cutOff(where, error);
    throw damagedBundle(where, 'here is the header of a file, and it cannot be read', error);
  }
}

/** Two blocks of zeros end a tar, and only zeros follow. */
async function expectEnd(file: BundleFile, offset: number, read: number): Promise<void> {
  if (read < TAR_BLOCK || file.size < offset + 2 * TAR_BLOCK) {
    throw cutOff(file.at(offset));
  }
  if (file.size - offset > MAX_END) throw damagedBundle(file.at(offset), 'data follows the end of the tar');
  let at = offset;
  for await (const bytes of file.section(offset, file.size - offset).open()) {
    const wrong = bytes.findIndex((byte) => byte !== 0);
    if (wrong !== -1) throw damagedBundle(file.at(at + wrong), 'data follows the end of the tar');
    at += bytes.length;
  }
}

/** The error for bytes that end before the tar does. */
export function cutOff(where: string, cause?: unknown): CacheError {
  return new CacheError('CORRUPT', `${where}: the bundle ends here, before its end`, {
    hint: 'fetch the rest; of a pipe, see why the sender stopped, and run both again: layers that are here are not written again',
    wrong: 'format',
    cause,
  });
}

function cutShort(file: BundleFile, offset: number, name: string): CacheError {
  return damagedBundle(file.at(offset), `it has ${file.size} bytes, and ${name} goes on behind them`);
}

import { createHash, type Hash } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { posix } from 'node:path';
import { CacheError } from '../../errors.js';
import { type Digest, hashDigest, sha256 } from '../../oci/digest.js';
import { gzipMember } from '../gzip.js';
import { inOrder } from '../../bytes/in-order.js';
import { ByteQueue } from '../../bytes/byte-queue.js';
import { damaged, TAR_BLOCK } from '../../tar/block.js';
import { readTarHeader, type TarHeader } from '../../tar/header.js';
import { chunkEntry, TOC_NAME, TocEntries, type TocEntry, tocJson, tocTar } from './toc.js';

/** The limit of file data in one gzip member, in bytes (estargz.go, chunkSize). */
export const CHUNK = 4 * 1024 * 1024;

/** The values for the descriptor of an eStargz blob. */
export interface Estargz {
  /** The digest of the decompressed bytes: the tar, followed by the tar of the table of contents. */
  readonly diffID: Digest;
  /** The number of decompressed bytes. */
  readonly uncompressedSize: number;
  readonly tocDigest: Digest;
}

/** A part of the tar that becomes a gzip member; `entry` is the file whose data it starts with. */
interface Member {
  readonly bytes: Uint8Array;
  readonly entry: TocEntry | undefined;
}

/**
 * Compresses a tar as BuildKit does (stargz-snapshotter, estargz.go, AppendTarLossLess): the data of each file, and each 4 MiB
 * of it, starts a new gzip member, and the bytes of the tar do not change. The members are deflated in parallel; their bytes
 * depend only on the tar and the level.
 *
 * @param where - the layer, for messages
 * @throws CacheError FAILED for a tar that has a table already, or entries that a table cannot describe; CORRUPT
 */
export async function* encodeEstargz(
  tar: AsyncIterable<Uint8Array>,
  level: number,
  where: string,
): AsyncGenerator<Uint8Array, Estargz, undefined> {
  const whole = createHash('sha256');
  let uncompressedSize = 0;
  const entries: TocEntry[] = [];
  let offset = 0;
  const onBytes = (bytes: Uint8Array) => {
    whole.update(bytes);
    uncompressedSize += bytes.length;
  };
  // A member may have 4 MiB, so that few members are in memory at once.
  const deflated = inOrder(members(tar, entries, onBytes, where), availableParallelism(), async ({ bytes, entry }) => ({
    entry,
    bytes: await gzipMember(bytes, level),
  }));
  for await (const { entry, bytes } of deflated) {
    if (entry !== undefined) entry.offset = offset;
    offset += bytes.length;
    yield bytes;
  }
  const json = await tocJson(entries);
  const table = tocTar(json);
  onBytes(table);
  yield await gzipMember(table, level);
  yield footer(offset);
  return { diffID: hashDigest('sha256', whole), uncompressedSize, tocDigest: sha256(json) };
}

async function* members(
  tar: AsyncIterable<Uint8Array>,
  entries: TocEntry[],
  onBytes: (bytes: Uint8Array) => void,
  where: string,
): AsyncGenerator<Member, void, undefined> {
  await using queue = new ByteQueue(tar);
  const toc = new TocEntries();
  let parts: Uint8Array[] = [];
  let begun: TocEntry | undefined;
  let size = 0;
  const add = (bytes: Uint8Array) => {
    if (bytes.length === 0) return;
    onBytes(bytes);
    parts.push(bytes);
    size += bytes.length;
  };
  const cut = (entry: TocEntry | undefined): Member => {
    // The parts are copied at once, so that they do not keep larger pieces of the tar in memory.
    const full = { bytes: Buffer.concat(parts), entry: begun };
    parts = [];
    begun = entry;
    size = 0;
    return full;
  };
  for (;;) {
    const header = await readTarHeader(queue, where);
    add(header.raw);
    if (!('name' in header)) break;
    const { size: dataSize, name } = header;
    refuse(header, where);
    const first = toc.entry(header, dataSize >= CHUNK ? CHUNK : undefined);
    if (first !== undefined) entries.push(first);
    let file: Hash | undefined;
    for (let at = 0; at < dataSize;) {
      const length = Math.min(CHUNK, dataSize - at);
      const isWhole = length === dataSize;
      let entry = first;
      if (at > 0 && first !== undefined) {
        entry = chunkEntry(name, at, length === CHUNK ? CHUNK : undefined);
        entries.push(entry);
      }
      if (entry !== undefined || size > CHUNK) yield cut(entry);
      const chunk = createHash('sha256');
      if (!isWhole) file ??= createHash('sha256');
      for (let left = length; left > 0;) {
        const bytes = await queue.some(left);
        if (bytes.length === 0) throw damaged(where, `${name} is cut short`);
        chunk.update(bytes);
        file?.update(bytes);
        add(bytes);
        left -= bytes.length;
      }
      if (entry !== undefined) entry.chunkDigest = hashDigest('sha256', chunk);
      at += length;
    }
    if (first?.type === 'reg') first.digest = digestOf(first, file);
    add(await queue.exactly((TAR_BLOCK - (dataSize % TAR_BLOCK)) % TAR_BLOCK));
    if (size > 2 * CHUNK) yield cut(undefined);
  }
  // What is behind the end of the tar belongs to it; there may be any number of zeros.
  for (let rest = await queue.some(CHUNK); rest.length > 0; rest = await queue.some(CHUNK)) {
    add(rest);
    if (size > 2 * CHUNK) yield cut(undefined);
  }
  if (size > 0) yield cut(undefined);
}

function digestOf(entry: TocEntry, file: Hash | undefined): string {
  if (file !== undefined) return hashDigest('sha256', file);
  return entry.chunkDigest ?? sha256('');
}

function refuse({ name, type, isSparse }: TarHeader, where: string): void {
  const cannot = (why: string) =>
    new CacheError('FAILED', `${where} cannot be compressed as estargz: ${why}`, {
      hint: 'choose gzip or zstd for this cache',
    });
  if (posix.normalize(`/${name}`).replace(/\/$/, '') === `/${TOC_NAME}`) {
    throw cannot(`its tar has a ${TOC_NAME} already, which would be taken for the table of contents`);
  }
  if (isSparse) throw cannot(`${name} is a sparse file, of which a table of contents knows nothing`);
  // A global pax header describes no file, and gets no entry.
  if (!/^[0-6g]$/.test(type)) throw cannot(`${name} has the type ${JSON.stringify(type)}`);
}

/** The footer: an empty gzip member with the offset of the table in its extra field (gzip.go, gzipFooterBytes). */
function footer(tocOffset: number): Buffer {
  const extra = Buffer.from(`SG\u0016\0${tocOffset.toString(16).padStart(16, '0')}STARGZ`, 'latin1');
  return Buffer.concat([
    Buffer.from([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, extra.length, 0]),
    extra,
    Buffer.from([1, 0, 0, 0xff, 0xff]),
    Buffer.alloc(8),
  ]);
}

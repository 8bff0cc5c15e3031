import { ByteQueue } from '../bytes/byte-queue.js';
import { collect } from '../bytes/collect.js';
import { decodeZstd, encodeZstd } from '../codec/zstd.js';
import { CacheError } from '../errors.js';
import { type Digest, splitDigest } from '../oci/digest.js';
import { paddedSize } from '../tar/located-entries.js';
import { DIGEST, type FileList, HEADER_CHECK } from './file-list.js';
import { decodeVarints, encodeVarints } from './varint.js';

// Lists of files as bytes: a magic number, and one zstd frame with the lists. A list has five fields: the 32 bytes of the
// diffID; then, as varints, the size of the tar and, file by file, how far each content is behind the padded end of the one
// before it; the sizes of the contents as varints; the checks of headers; the digests. Each field has its length before it, in
// four bytes, little endian; four zeros are the end. Digests do not compress, and the rest does: 38 to 39 bytes a file.

const MAGIC = Buffer.from('bkfiles1', 'latin1');
/** The length of a field that is none. */
const END = Buffer.alloc(4);
const LEVEL = 9;
/** Fields are read in portions of this size, in bytes, so that memory is taken for delivered bytes alone. */
const PORTION = 64 * 1024;

/**
 * Encodes lists of files.
 *
 * @param lists - in ascending order of their diffIDs, which are sha256, so that the same lists are the same bytes
 */
export async function* encodeFileLists(
  lists: Iterable<FileList> | AsyncIterable<FileList>,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield MAGIC;
  yield* encodeZstd(fieldsOf(lists), LEVEL);
}

async function* fieldsOf(
  lists: Iterable<FileList> | AsyncIterable<FileList>,
): AsyncGenerator<Uint8Array, void, undefined> {
  let before = '';
  for await (const { diffID, size, offsets, sizes, digests, headerChecks } of lists) {
    const [algorithm, hex] = splitDigest(diffID);
    if (algorithm !== 'sha256' || diffID <= before) throw new Error(`the list of ${diffID} is not in order`);
    before = diffID;
    let end = 0;
    const distances = offsets.map((offset, index) => {
      const distance = offset - end;
      end = offset + paddedSize(sizes[index] ?? 0);
      return distance;
    });
    const numbers = encodeVarints([size, ...distances]);
    for (const field of [Buffer.from(hex, 'hex'), numbers, encodeVarints(sizes), headerChecks, digests]) {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(field.length);
      yield length;
      yield field;
    }
  }
  yield END;
}

/**
 * Decodes lists of files, one after the other.
 *
 * @param where - the source of the bytes, for messages
 * @throws CacheError CORRUPT for bytes that are no lists of files
 */
export async function* decodeFileLists(
  bytes: AsyncIterable<Uint8Array>,
  where: string,
): AsyncGenerator<FileList, void, undefined> {
  const wrong = (what: string, cause?: unknown) =>
    new CacheError('CORRUPT', `${where}: ${what}`, { hint: 'make the list of files again', wrong: 'format', cause });
  await using raw = new ByteQueue(bytes);
  if (!(await raw.exactly(MAGIC.length)).equals(MAGIC)) throw wrong('it is no list of files');
  const blame = (cause: Error) => wrong(`the list of files is damaged: ${cause.message}`, cause);
  await using fields = new ByteQueue(decodeZstd(raw.rest(), blame, { where }));
  const fieldAfter = async (length: Buffer) => {
    if (length.length < 4) throw wrong('the list of files is cut short');
    const size = length.readUInt32LE();
    const field = await collect(portions(fields, size));
    if (field.length < size) throw wrong('the list of files is cut short');
    return field;
  };
  let before = '';
  for (;;) {
    const length = await fields.exactly(4);
    if (length.equals(END)) break;
    const digest = await fieldAfter(length);
    const numbers = decodeVarints(await fieldAfter(await fields.exactly(4)));
    const sizes = decodeVarints(await fieldAfter(await fields.exactly(4)));
    const headerChecks = await fieldAfter(await fields.exactly(4));
    const digests = await fieldAfter(await fields.exactly(4));
    const diffID = `sha256:${digest.toString('hex')}` as Digest;
    const [size, ...distances] = numbers ?? [];
    const count = sizes?.length;
    if (
      digest.length !== DIGEST ||
      size === undefined ||
      sizes === undefined ||
      distances.length !== count ||
      headerChecks.length !== count * HEADER_CHECK ||
      digests.length !== count * DIGEST
    ) {
      throw wrong('the list of files has fields of wrong sizes');
    }
    if (diffID <= before) throw wrong('the lists of files are not in order');
    before = diffID;
    const offsets = offsetsOf(distances, sizes, size);
    if (offsets === undefined) throw wrong(`the list of files has a file behind the end of layer ${diffID}`);
    yield { diffID, size, offsets, sizes: Float64Array.from(sizes), digests, headerChecks };
  }
  if ((await fields.some(1)).length > 0) throw wrong('bytes follow the lists of files');
}

/** Where the contents begin; undefined where one ends behind the end of the tar. */
function offsetsOf(distances: readonly number[], sizes: readonly number[], size: number): Float64Array | undefined {
  const offsets = new Float64Array(distances.length);
  let end = 0;
  for (const [index, distance] of distances.entries()) {
    const offset = end + distance;
    const length = sizes[index] ?? 0;
    if (offset + length > size) return undefined;
    offsets[index] = offset;
    end = offset + paddedSize(length);
  }
  return offsets;
}

/** Up to so many bytes. */
async function* portions(queue: ByteQueue, length: number): AsyncGenerator<Buffer, void, undefined> {
  for (let left = length; left > 0;) {
    const portion = await queue.exactly(Math.min(left, PORTION));
    if (portion.length === 0) return;
    yield portion;
    left -= portion.length;
  }
}

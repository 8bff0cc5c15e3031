import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import { constants, crc32, deflateRaw } from 'node:zlib';
import { type DeflateStrategy, deflateStrategy } from './deflate-strategy.js';
import { inOrder } from '../bytes/in-order.js';
import { inPieces } from '../bytes/pieces.js';

/**
 * The size of the blocks that are deflated separately, in bytes. It is so large that the restarted Huffman tables of each
 * block do not matter for the size, and so small that many blocks are deflated in parallel.
 */
const BLOCK = 1024 * 1024;
/** The window of deflate (RFC 1951): each block is primed with this many bytes before it. */
const WINDOW = 32 * 1024;
/** A constant, since the stored blocks of level 0 depend on it. */
const CHUNK_SIZE = 512 * 1024;

/** The options of zlib for each strategy. Level 9 always searches for matches. */
const ZLIB_OPTIONS: Readonly<Record<DeflateStrategy, { readonly level?: number; readonly strategy?: number }>> = {
  matches: {},
  huffman: { strategy: constants.Z_HUFFMAN_ONLY },
  stored: { level: constants.Z_NO_COMPRESSION },
};
const SMALLEST = 9;
/** Go's HuffmanOnly (compress/flate): no search for matches. */
const HUFFMAN_ONLY = -2;

const deflate = promisify<Uint8Array, object, Buffer>(deflateRaw);

/** A block of the tar, with the bytes before it. */
interface Block {
  readonly bytes: Uint8Array;
  readonly dictionary: Uint8Array | undefined;
  readonly isLast: boolean;
}

/**
 * Compresses a tar as one gzip member, on all threads of Node's pool. The cuts between blocks depend only on the tar, and so
 * do the output bytes.
 */
export async function* encodeGzip(
  tar: AsyncIterable<Uint8Array>,
  level: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let checksum = 0;
  let size = 0;
  yield gzipHeader(level);
  const blocks = blocksOf(tar, (block) => {
    checksum = crc32(block, checksum);
    size += block.length;
  });
  yield* inOrder(blocks, blocksAhead(), ({ bytes, dictionary, isLast }) =>
    deflate(bytes, {
      ...optionsOf(level, level > 0 && level < SMALLEST ? deflateStrategy(bytes) : 'matches'),
      chunkSize: CHUNK_SIZE,
      finishFlush: isLast ? constants.Z_FINISH : constants.Z_SYNC_FLUSH,
      ...(dictionary === undefined ? {} : { dictionary }),
    }),
  );
  yield gzipTrailer(checksum, size);
}

/** A complete gzip member for bytes in memory. */
export async function gzipMember(bytes: Uint8Array, level: number): Promise<Buffer> {
  // Many members are small. The chunk size, too, depends only on the bytes.
  const chunkSize = Math.min(CHUNK_SIZE, Math.max(1024, bytes.length));
  const body = await deflate(bytes, { ...optionsOf(level), chunkSize });
  return Buffer.concat([gzipHeader(level), body, gzipTrailer(crc32(bytes), bytes.length)]);
}

/** The options of zlib for a level of Go. */
function optionsOf(
  level: number,
  strategy: DeflateStrategy = 'matches',
): { readonly level?: number; readonly strategy?: number } {
  return level === HUFFMAN_ONLY ? ZLIB_OPTIONS.huffman : { level, ...ZLIB_OPTIONS[strategy] };
}

/** How many blocks to deflate ahead, so that no core waits. */
function blocksAhead(): number {
  return availableParallelism() + 2;
}

/** Go's header (compress/gzip): without name, time and operating system. */
function gzipHeader(level: number): Buffer {
  const extraFlags = { 1: 4, 9: 2 }[level] ?? 0;
  return Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, extraFlags, 255]);
}

function gzipTrailer(checksum: number, size: number): Buffer {
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(checksum, 0);
  trailer.writeUInt32LE(size % 2 ** 32, 4);
  return trailer;
}

/** Cuts bytes into blocks; an empty stream is one empty block. */
async function* blocksOf(
  bytes: AsyncIterable<Uint8Array>,
  onBlock: (block: Uint8Array) => void,
): AsyncGenerator<Block, void, undefined> {
  let dictionary: Uint8Array | undefined;
  // The last block has another form, so that each block waits until the next one begins.
  let previous: Uint8Array | undefined;
  const take = (block: Uint8Array, isLast: boolean): Block => {
    onBlock(block);
    const taken = { bytes: block, dictionary, isLast };
    dictionary = block.subarray(-WINDOW);
    return taken;
  };
  for await (const block of inPieces(bytes, BLOCK)) {
    if (previous !== undefined) yield take(previous, false);
    previous = block;
  }
  yield take(previous ?? new Uint8Array(), true);
}

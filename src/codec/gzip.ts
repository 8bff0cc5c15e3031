import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import { constants, crc32, deflateRaw } from 'node:zlib';
import { type DeflateStrategy, deflateStrategy } from './deflate-strategy.js';
import { inOrder } from '../bytes/in-order.js';
import { inPieces } from '../bytes/pieces.js';

/**
 * The tar is cut into blocks of this size, in bytes, which are deflated each by itself. Large enough that the few bytes
 * and the restarted Huffman tables at each cut do not show in the size, small enough that many are under way.
 */
const BLOCK = 1024 * 1024;
/** How far back deflate can refer (RFC 1951): what each block is primed with. */
const WINDOW = 32 * 1024;
/** A constant, since the stored blocks of level 0 depend on it. */
const CHUNK_SIZE = 512 * 1024;

/** What zlib is told beside the level. Level 9 is for those who want every byte: it always searches. */
const ZLIB_OPTIONS: Readonly<Record<DeflateStrategy, { readonly level?: number; readonly strategy?: number }>> = {
  matches: {},
  huffman: { strategy: constants.Z_HUFFMAN_ONLY },
  stored: { level: constants.Z_NO_COMPRESSION },
};
const SMALLEST = 9;
/** Go's HuffmanOnly (compress/flate): no search for what occurred before. */
const HUFFMAN_ONLY = -2;

const deflate = promisify<Uint8Array, object, Buffer>(deflateRaw);

/** A piece of the tar, with what comes before it. */
interface Block {
  readonly bytes: Uint8Array;
  readonly dictionary: Uint8Array | undefined;
  readonly isLast: boolean;
}

/**
 * One gzip member, deflated on all cores: by the threads that Node keeps for such work. Where the blocks are cut
 * depends on the tar alone, and so do the bytes that come out.
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

/** A gzip member of its own, for bytes that are in memory. */
export async function gzipMember(bytes: Uint8Array, level: number): Promise<Buffer> {
  // Many members are small; this too is a matter of the bytes alone.
  const chunkSize = Math.min(CHUNK_SIZE, Math.max(1024, bytes.length));
  const body = await deflate(bytes, { ...optionsOf(level), chunkSize });
  return Buffer.concat([gzipHeader(level), body, gzipTrailer(crc32(bytes), bytes.length)]);
}

/** What a level of Go's is to zlib. */
function optionsOf(
  level: number,
  strategy: DeflateStrategy = 'matches',
): { readonly level?: number; readonly strategy?: number } {
  return level === HUFFMAN_ONLY ? ZLIB_OPTIONS.huffman : { level, ...ZLIB_OPTIONS[strategy] };
}

/** How many blocks to have under way, so that no core waits for the next one. */
function blocksAhead(): number {
  return availableParallelism() + 2;
}

/** Go's header (compress/gzip): no name and no time in it, nor which system made it. */
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
  // The last block is another kind of block: each is held back until the next one has begun.
  let held: Uint8Array | undefined;
  const take = (block: Uint8Array, isLast: boolean): Block => {
    onBlock(block);
    const taken = { bytes: block, dictionary, isLast };
    dictionary = block.subarray(-WINDOW);
    return taken;
  };
  for await (const block of inPieces(bytes, BLOCK)) {
    if (held !== undefined) yield take(held, false);
    held = block;
  }
  yield take(held ?? new Uint8Array(), true);
}

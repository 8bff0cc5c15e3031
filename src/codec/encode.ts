import { createGzip } from 'node:zlib';
import { CacheError } from '../errors.js';
import { DEFAULT_LEVEL, type Encoding } from './compression.js';
import { through } from './through.js';

// Node's default of 16 KiB makes a task of the thread pool of every few lines of text.
const CHUNK_SIZE = 256 * 1024;
// zstd-napi compresses on the calling thread: small pieces let the event loop breathe between them.
const ZSTD_PIECE = 128 * 1024;
const ZSTD_ONE_GO = 1024 * 1024;
// Above level 19 zstd wants up to 700 MB of tables; with those of level 19 it still searches as hard as it was asked to.
const LEVEL_OF_TABLES = 19;
const TABLES = { windowLog: 23, chainLog: 24, hashLog: 22 };

/**
 * Packs a tar. The same bytes and encoding give the same blob: gzip's header has no time and no name in it, and zstd
 * runs without workers of its own, which would change its output.
 */
export async function* encode(
  tar: AsyncIterable<Uint8Array>,
  { compression, level }: Encoding,
): AsyncGenerator<Uint8Array, void, undefined> {
  switch (compression) {
    case 'uncompressed':
      yield* tar;
      return;
    case 'gzip':
      yield* through(tar, createGzip({ level: level ?? DEFAULT_LEVEL.gzip, chunkSize: CHUNK_SIZE }), failed);
      return;
    case 'zstd':
      yield* encodeZstd(tar, level ?? DEFAULT_LEVEL.zstd);
  }
}

/**
 * What fits into memory is packed in one go, since zstd then takes tables of a fitting size instead of clearing
 * hundreds of megabytes for a few kilobytes.
 */
async function* encodeZstd(tar: AsyncIterable<Uint8Array>, level: number): AsyncGenerator<Uint8Array, void, undefined> {
  const { Compressor, CompressStream } = await import('zstd-napi');
  // The checksum lets a reader notice damage by itself. 0 is the library's own default, to it as to BuildKit.
  const parameters = { compressionLevel: level, checksumFlag: true };
  const iterator = pieces(tar)[Symbol.asyncIterator]();
  const head: Uint8Array[] = [];
  let size = 0;
  for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) {
    head.push(next.value);
    size += next.value.length;
    if (size > ZSTD_ONE_GO) {
      const bounded = level > LEVEL_OF_TABLES ? { ...parameters, ...TABLES } : parameters;
      yield* through(chain(head, iterator), new CompressStream(bounded), failed);
      return;
    }
  }
  const compressor = new Compressor();
  compressor.setParameters(parameters);
  yield compressor.compress(Buffer.concat(head));
}

async function* chain(
  head: readonly Uint8Array[],
  rest: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* head;
  for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value;
}

async function* pieces(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of bytes) {
    for (let start = 0; start < chunk.length; start += ZSTD_PIECE) yield chunk.subarray(start, start + ZSTD_PIECE);
  }
}

function failed(cause: Error): CacheError {
  return new CacheError('FAILED', `cannot compress: ${cause.message}`, { cause });
}

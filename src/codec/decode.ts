import { createGunzip } from 'node:zlib';
import { CacheError } from '../errors.js';
import type { Compression } from './compression.js';
import { through } from './through.js';

const CHUNK_SIZE = 256 * 1024;

/**
 * Unpacks a blob, or for eStargz a part of one that ends between two gzip members.
 *
 * @param where - the blob, for the message
 * @throws CacheError CORRUPT when the stream ends early, has a bad checksum or is not of this compression
 */
export async function* decode(
  blob: AsyncIterable<Uint8Array>,
  compression: Compression,
  where: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  const damaged = (cause: Error) =>
    new CacheError('CORRUPT', `${where}: the ${compression} stream is damaged: ${cause.message}`, { cause });
  switch (compression) {
    case 'uncompressed':
      yield* blob;
      return;
    case 'gzip':
    case 'estargz':
      yield* through(blob, createGunzip({ chunkSize: CHUNK_SIZE }), damaged);
      return;
    case 'zstd': {
      const { DecompressStream } = await import('zstd-napi');
      yield* through(blob, new DecompressStream(), damaged);
    }
  }
}

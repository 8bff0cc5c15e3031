import { CacheError } from '../errors.js';
import type { Compression } from './compression.js';
import { gunzip } from './gunzip.js';
import { type DecodeOptions, decodeZstd } from './zstd.js';

/**
 * Decompresses a blob, or a part of an eStargz blob that ends between two gzip members.
 *
 * @param where - the blob, for the message
 * @param options - `onPadding` is called with the number of zeros after a gzip stream, if there are zeros
 * @throws CacheError CORRUPT for a stream that ends early, has a bad checksum, is followed by other bytes or has another
 *   compression; FAILED for a zstd window over 512 MiB, or over the memory for all windows
 */
export async function* decode(
  blob: AsyncIterable<Uint8Array>,
  compression: Compression,
  where: string,
  options: Omit<DecodeOptions, 'where'> & { readonly onPadding?: (zeros: number) => void } = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const damaged = (cause: Error) =>
    new CacheError('CORRUPT', `${where}: the ${compression} stream is damaged: ${cause.message}`, { cause });
  switch (compression) {
    case 'uncompressed':
      yield* blob;
      return;
    case 'gzip':
    case 'estargz':
      yield* gunzip(blob, damaged, options.onPadding);
      return;
    case 'zstd':
      yield* decodeZstd(blob, damaged, { ...options, where });
  }
}

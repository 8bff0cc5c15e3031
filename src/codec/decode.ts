import { CacheError } from '../errors.js';
import type { Compression } from './compression.js';
import { gunzip } from './gunzip.js';
import { type DecodeOptions, decodeZstd, isTooLargeWindow, MAX_WINDOW } from './zstd.js';

/**
 * Unpacks a blob, or for eStargz a part of one that ends between two gzip members.
 *
 * @param where - the blob, for the message
 * @param options - `onPadding` is told how many zeros are behind a gzip stream, where there are some
 * @throws CacheError CORRUPT when the stream ends early, has a bad checksum, has anything behind it or is not of this
 *   compression; FAILED for a zstd window over 512 MiB, or over what all may have together
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
      yield* decodeZstd(blob, (cause) => (isTooLargeWindow(cause) ? tooLarge(where, cause) : damaged(cause)), {
        ...options,
        where,
      });
  }
}

function tooLarge(where: string, cause: Error): CacheError {
  const most = MAX_WINDOW / 1024 ** 2;
  return new CacheError('FAILED', `${where}: the zstd stream has a window of more than ${most} MiB`, {
    hint: `BuildKit refuses it too; compress it again with a smaller window, as with "zstd --long=27"`,
    cause,
  });
}

import { DEFAULT_LEVEL, type Encoding } from './compression.js';
import { encodeGzip } from './gzip.js';
import { encodeZstd } from './zstd.js';

/**
 * Packs a tar. The same bytes and encoding give the same blob, on any number of cores.
 *
 * @param threads - for zstd's own workers; as many as there are cores by default
 */
export async function* encode(
  tar: AsyncIterable<Uint8Array>,
  { compression, level }: Encoding,
  threads?: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  switch (compression) {
    case 'uncompressed':
      yield* tar;
      return;
    case 'gzip':
      yield* encodeGzip(tar, level ?? DEFAULT_LEVEL.gzip);
      return;
    case 'zstd':
      yield* encodeZstd(tar, level ?? DEFAULT_LEVEL.zstd, threads);
  }
}

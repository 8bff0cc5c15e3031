import { DEFAULT_LEVEL, type Encoding } from './compression.js';
import { encodeEstargz, type Estargz } from './estargz/encode-estargz.js';
import { encodeGzip } from './gzip.js';
import { encodeZstd } from './zstd.js';

/**
 * Compresses a tar. The same bytes and encoding give the same blob, on any number of cores.
 *
 * @param where - the layer, for messages
 * @param threads - the number of zstd's workers; the number of cores by default
 * @returns for estargz, the values for the descriptor
 */
export async function* encode(
  tar: AsyncIterable<Uint8Array>,
  { compression, level }: Encoding,
  { where, threads }: { readonly where: string; readonly threads?: number | undefined },
): AsyncGenerator<Uint8Array, Estargz | undefined, undefined> {
  switch (compression) {
    case 'uncompressed':
      yield* tar;
      return undefined;
    case 'gzip':
      yield* encodeGzip(tar, gzipLevel(level));
      return undefined;
    case 'estargz':
      return yield* encodeEstargz(tar, gzipLevel(level), where);
    case 'zstd':
      yield* encodeZstd(tar, level ?? DEFAULT_LEVEL.zstd, threads);
      return undefined;
  }
}

/** -1 is Go's word for the default (compress/gzip). */
function gzipLevel(level = -1): number {
  return level === -1 ? DEFAULT_LEVEL.gzip : level;
}

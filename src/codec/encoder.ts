import { DEFAULT_LEVEL, type Encoding } from './compression.js';

/** To be raised whenever the same tar and encoding come to other bytes: what was converted before is then converted again. */
const VERSION = 1;

/**
 * A name for what makes the bytes of a blob out of a tar: `zstd-19/1`, `gzip-6/1/zlib-1.3.1`. Two blobs that were made
 * from one tar under the same name are the same.
 */
export function encoderName({ compression, level }: Encoding): string {
  switch (compression) {
    case 'uncompressed':
      return compression;
    case 'zstd':
      return `zstd-${level ?? DEFAULT_LEVEL.zstd}/${VERSION}`;
    case 'gzip':
    case 'estargz':
      // Node brings zlib along, and another one has other bytes.
      return `${compression}-${level ?? DEFAULT_LEVEL[compression]}/${VERSION}/zlib-${process.versions.zlib}`;
  }
}

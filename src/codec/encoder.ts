import { DEFAULT_LEVEL, type Encoding } from './compression.js';

/** Raise this when the same tar and encoding give other bytes: recorded conversions are then done again. */
const VERSION = 1;

/**
 * The name of an encoder: `zstd-19/1`, `gzip-6/1/zlib-1.3.1`. The same tar and encoder name give the same blob.
 */
export function encoderName({ compression, level }: Encoding): string {
  switch (compression) {
    case 'uncompressed':
      return compression;
    case 'zstd':
      return `zstd-${level ?? DEFAULT_LEVEL.zstd}/${VERSION}`;
    case 'gzip':
    case 'estargz':
      // Node contains zlib, and other versions of zlib give other bytes.
      return `${compression}-${level ?? DEFAULT_LEVEL[compression]}/${VERSION}/zlib-${process.versions.zlib}`;
  }
}

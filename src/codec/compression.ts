import type { LayerEncoding } from '../oci/media-types.js';

/** How a layer's tar is compressed. estargz is gzip with a table of contents at its end. */
export type Compression = 'uncompressed' | 'gzip' | 'estargz' | 'zstd';

/** What a layer is to be compressed with. */
export interface Encoding {
  readonly compression: Compression;
  /**
   * gzip and estargz -2 to 9: -2 is Huffman coding alone, -1 the default, 0 stores. zstd any: up to 22, where more is 22;
   * 0 is the library's default, and below it are the fast ones. The default is that of BuildKit.
   */
  readonly level?: number;
}

/** What BuildKit takes when no level is asked: util/compression/gzip.go and zstd.go. */
export const DEFAULT_LEVEL = { gzip: 6, estargz: 6, zstd: 3 } as const;

/** The word of media types for a compression. */
export function encodingOf(compression: Compression): LayerEncoding {
  return compression === 'estargz' ? 'gzip' : compression;
}

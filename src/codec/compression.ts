import type { LayerEncoding } from '../oci/media-types.js';

/** How a layer's tar is compressed. estargz is gzip with a table of contents at its end. */
export type Compression = 'uncompressed' | 'gzip' | 'estargz' | 'zstd';

/** A compression and its level. */
export interface Encoding {
  readonly compression: Compression;
  /**
   * gzip and estargz: -2 to 9; -2 is Huffman coding only, -1 the default, 0 stores. zstd: any number; 0 is the library's
   * default, negative levels are fast, and levels above 22 are 22. The default is BuildKit's.
   */
  readonly level?: number;
}

/** BuildKit's default levels: util/compression/gzip.go and zstd.go. */
export const DEFAULT_LEVEL = { gzip: 6, estargz: 6, zstd: 3 } as const;

/** The word of media types for a compression. */
export function encodingOf(compression: Compression): LayerEncoding {
  return compression === 'estargz' ? 'gzip' : compression;
}

/** How a layer's tar is packed. estargz is gzip with a table of contents at its end. */
export type Compression = 'uncompressed' | 'gzip' | 'estargz' | 'zstd';

/** What a layer is to be packed with. */
export interface Encoding {
  readonly compression: Compression;
  /** gzip and estargz 0-9, where 0 stores; zstd 0-22, where 0 is the library's default. The default is that of BuildKit. */
  readonly level?: number;
}

/** What BuildKit takes when no level is asked: util/compression/gzip.go and zstd.go. */
export const DEFAULT_LEVEL = { gzip: 6, estargz: 6, zstd: 3 } as const;

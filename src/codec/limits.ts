/**
 * The default limit for the decompressed size of a layer, in bytes. Real layers have at most some tens of gigabytes; a blob
 * that was made to fill disks may decompress without end.
 */
export const MAX_LAYER_SIZE = 128 * 1024 ** 3;

/** The default memory for all zstd windows that are open at once, in bytes: two of the largest windows. */
export const WINDOW_MEMORY = 1024 ** 3;

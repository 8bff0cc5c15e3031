/** The limits of work on the blobs of a cache. */
export interface WorkOptions {
  /** How many blobs are worked on at once: by default as many as there are cores, and more where blobs are only copied. */
  readonly concurrency?: number | undefined;
  /** The most that a layer may decompress to, in bytes; 128 GiB by default. */
  readonly maxLayerSize?: number | undefined;
  /** The memory for the windows of all zstd layers that are read at once, in bytes; 1 GiB by default. */
  readonly windowMemory?: number | undefined;
}

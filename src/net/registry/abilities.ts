const MIB = 1024 * 1024;

/**
 * Sizes of chunks, in bytes. GitHub's registry accepts at most 4 MiB, many proxies 1 MiB; Amazon's needs at least 5 MiB.
 */
const CHUNKS = [64 * MIB, 8 * MIB, 4 * MIB, MIB];

/** What a registry has refused to do, remembered for the rest of an operation. */
export class Abilities {
  /** Whether it answers HEAD. */
  head = true;
  #refusedChunk = Infinity;
  #refusedWhole = Infinity;
  readonly #refusedMounts = new Set<string>();

  /**
   * The size that the chunks of an upload should have, in bytes.
   *
   * @param most - the largest chunk of the caller
   * @param least - the smallest chunk of the registry
   * @returns undefined for a registry that accepts no chunks
   */
  chunk(most: number, least: number): number | undefined {
    const size = CHUNKS.find((size) => size <= most && size < this.#refusedChunk);
    if (size === undefined || size >= least) return size;
    return least <= most && least < this.#refusedChunk ? least : undefined;
  }

  refuseChunk(size: number): void {
    this.#refusedChunk = Math.min(this.#refusedChunk, size);
  }

  /** Whether a blob of this size may be sent in one request. */
  takesWhole(size: number): boolean {
    return size < this.#refusedWhole;
  }

  refuseWhole(size: number): void {
    this.#refusedWhole = Math.min(this.#refusedWhole, size);
  }

  /** Whether blobs can be mounted from another repository. */
  mounts(from: string, to: string): boolean {
    return !this.#refusedMounts.has(`${from} ${to}`);
  }

  refuseMount(from: string, to: string): void {
    this.#refusedMounts.add(`${from} ${to}`);
  }
}

const MIB = 1024 * 1024;

/**
 * Sizes of chunks, in bytes. GitHub's registry takes 4 MiB at most, proxies often 1 MiB, and Amazon's wants 5 MiB at
 * least.
 */
const CHUNKS = [64 * MIB, 8 * MIB, 4 * MIB, MIB];

/** What a registry turned out not to do, remembered for the rest of an operation. */
export class Abilities {
  /** Whether it answers HEAD. */
  head = true;
  #refusedChunk = Infinity;
  #refusedWhole = Infinity;
  readonly #refusedMounts = new Set<string>();

  /**
   * The size that the chunks of an upload should have, in bytes.
   *
   * @param most - that the caller can do
   * @param least - that the registry asks for
   * @returns undefined where it takes none
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

  /** Whether blobs may be taken over from another repository. */
  mounts(from: string, to: string): boolean {
    return !this.#refusedMounts.has(`${from} ${to}`);
  }

  refuseMount(from: string, to: string): void {
    this.#refusedMounts.add(`${from} ${to}`);
  }
}

import { faultsOf } from '../../graph/statement.js';
import { type Descriptor, UNCOMPRESSED } from '../../oci/descriptor.js';
import { Column, DigestTable } from '../../oci/digest-table.js';

/**
 * What caches without a manifest say of their layers, and what a listing shows, in some 100 bytes a blob: enough to know which
 * blobs something may be wrong with. Only of those the statements are gathered whole.
 */
export class Survey {
  /** The blobs, needed or not; a row each. */
  readonly table = new DigestTable();
  readonly #diffIDs = new DigestTable();
  /** By the rows of the blobs: the diffID and the size that the first statement has. */
  readonly #saidDiffIDs = new Column();
  readonly #saidSizes = new Column();
  readonly #sizes = new Column();
  readonly #doubtful = new Set<number>();

  /** Takes a statement about a layer. */
  add(layer: Descriptor): void {
    const row = this.table.add(layer.digest);
    const diffID = this.#diffIDs.add(layer.annotations?.[UNCOMPRESSED] ?? '');
    if (!this.#saidSizes.has(row)) {
      this.#saidDiffIDs.set(row, diffID);
      this.#saidSizes.set(row, layer.size);
    }
    const isSame = this.#saidDiffIDs.at(row) === diffID && this.#saidSizes.at(row) === layer.size;
    // One that is wrong whatever the bytes are has to be judged, too.
    if (!isSame || faultsOf(layer, undefined).next().done !== true) this.#doubtful.add(row);
  }

  /** Takes a blob that a listing shows. @returns whether something needs it */
  see(digest: string, size: number): boolean {
    const row = this.table.add(digest);
    this.#sizes.set(row, size);
    return this.isNeeded(row);
  }

  isNeeded(row: number): boolean {
    return this.#saidSizes.has(row);
  }

  isPresent(row: number): boolean {
    return this.#sizes.has(row);
  }

  /** In bytes: as it is, or else as it is said to be. */
  sizeAt(row: number): number {
    return this.isPresent(row) ? this.#sizes.at(row) : this.#saidSizes.at(row);
  }

  /** Whether a needed blob is missing, has another size, or is said to be what it cannot be. */
  isSuspect(row: number): boolean {
    return this.#doubtful.has(row) || this.#sizes.at(row) !== this.#saidSizes.at(row);
  }
}

import { rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';
import { Lease } from './lease.js';
import { Marker } from './marker.js';

/** The folder of temporaries: on the filesystem of the blobs, so that a rename moves them; outside of blobs/. */
export const WORKSPACE_FOLDER = '.bkcache';

/**
 * The markers of this process in a layout, and the leases in them. A full marker takes no new leases, and is removed when
 * its last lease ends: so a process that runs for weeks has small markers.
 */
export class Workspace {
  readonly #root: string;
  readonly #folder: string;
  readonly #markers = new Set<Marker>();
  #current: Marker | undefined;
  #isUsed = false;

  constructor(root: string) {
    this.#root = root;
    this.#folder = join(root, WORKSPACE_FOLDER);
  }

  /** Begins a lease without blobs. It costs nothing until a blob is added. */
  lease(): Lease {
    if (this.#current?.isFull !== false) this.#current = new Marker(this.#folder);
    const marker = this.#current;
    this.#isUsed = true;
    this.#markers.add(marker);
    marker.leases++;
    return new Lease(this.#root, marker, (blobs) => this.#end(marker, blobs));
  }

  /** Ends every lease, and removes the folder unless other processes have files in it. */
  async close(): Promise<void> {
    this.#current = undefined;
    const markers = [...this.#markers];
    this.#markers.clear();
    for (const marker of markers) await marker.remove();
    if (!this.#isUsed) return;
    await rmdir(this.#folder).catch((error: unknown) => {
      if (!isSystemError(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST', 'EBUSY', 'EPERM', 'EACCES')) throw error;
    });
  }

  /** A lease that ends with its marker needs no line that says so. */
  async #end(marker: Marker, blobs: Set<Digest>): Promise<void> {
    const isLast = () => marker.leases === 0 && marker.isFull;
    marker.leases--;
    if (!isLast()) await marker.end(blobs);
    if (!isLast() || !this.#markers.delete(marker)) return;
    if (this.#current === marker) this.#current = undefined;
    await marker.remove();
  }
}

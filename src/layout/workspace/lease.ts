import { lstatSync } from 'node:fs';
import type { Digest } from '../../oci/digest.js';
import { deleted } from '../files/disk-error.js';
import type { Marker } from './marker.js';

/** How long ago another process may have been at work in a layout, in milliseconds. */
const RECENT = 1000;

/**
 * The blobs that one operation, such as an export or a request, depends on: gc in any process keeps them until the lease
 * ends. A blob may have several leases.
 */
export class Lease implements AsyncDisposable {
  readonly #root: string;
  readonly #marker: Marker;
  readonly #end: (blobs: Set<Digest>) => Promise<void>;
  readonly #blobs = new Set<Digest>();
  #beginning: Promise<void> | undefined;
  /** What is being added, so that nothing is added after the end. */
  #adding: Promise<unknown> = Promise.resolve();
  #isBusy = false;
  /** When the root was last changed, once the marker was there. */
  #rootTime = 0;
  #isEnded = false;

  /** @param end - ends the lease of its blobs */
  constructor(root: string, marker: Marker, end: (blobs: Set<Digest>) => Promise<void>) {
    this.#root = root;
    this.#marker = marker;
    this.#end = end;
  }

  /**
   * Adds blobs to the lease. To be called before it is looked whether they exist: gc moves a blob first, and reads
   * the leases afterwards.
   *
   * @throws the system's errors, such as ENOSPC; the blobs are not leased then
   */
  async add(digests: readonly Digest[]): Promise<void> {
    if (digests.every((digest) => this.#blobs.has(digest))) return;
    const adding = this.#begin().then(() => this.#marker.add(this.#blobs, digests));
    this.#adding = Promise.allSettled([this.#adding, adding]);
    await adding;
  }

  /**
   * A path for a new file, to be renamed to its place or removed.
   *
   * @throws CacheError FAILED when the marker was deleted
   */
  async temporary(): Promise<string> {
    await this.#begin();
    this.refuseLoss();
    return this.#marker.temporary();
  }

  /**
   * Makes sure that other processes see the lease.
   *
   * @throws CacheError FAILED when the marker was deleted, as `rm -r` of the folder does
   */
  refuseLoss(): void {
    if (!this.#marker.isSeen()) throw deleted(this.#root);
  }

  /** Whether another process made or deleted files in the root, such as a lock, shortly before the lease or during it. */
  wasBusy(): boolean {
    return this.#isBusy || changedAt(this.#root) !== this.#rootTime;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isEnded) return;
    this.#isEnded = true;
    await this.#adding;
    await this.#end(this.#blobs);
  }

  #begin(): Promise<void> {
    if (this.#isEnded) return Promise.reject(new Error('the lease has ended'));
    this.#beginning ??= this.#makeMarker().catch((error: unknown) => {
      this.#beginning = undefined;
      throw error;
    });
    return this.#beginning;
  }

  async #makeMarker(): Promise<void> {
    this.#isBusy = Date.now() - changedAt(this.#root) < RECENT;
    await this.#marker.open();
    this.#rootTime = changedAt(this.#root);
  }
}

/** In milliseconds since 1970; 0 where there is no such folder. */
function changedAt(folder: string): number {
  return lstatSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

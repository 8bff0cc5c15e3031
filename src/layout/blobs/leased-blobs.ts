import { lstatSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isSystemError } from '../../errors.js';
import type { Content } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { makeFolder, syncFile, syncFolder } from '../files/durable.js';
import { createFile, openRegular } from '../files/open-file.js';
import { settleBlob } from '../files/ownership.js';
import type { Layout } from '../layout.js';
import type { Lease } from '../workspace/lease.js';
import { writeBlobFile } from './write-blob-file.js';
import type { Blobs } from './blobs.js';
import { KnownDamaged } from './known-damaged.js';
import { LostBlobs } from './lost-blobs.js';
import { FileSharer, type Sharing } from './share.js';

/**
 * The blobs that one operation finds or writes in a layout, under a lease: gc keeps them until the operation ends.
 *
 * A blob is written to a temporary file, checked, synced, made read-only and renamed: a file under its name is whole, but
 * for damage done later. Many operations and processes may write at once, the same blob too.
 */
export class LeasedBlobs implements AsyncDisposable {
  readonly lease: Lease;
  readonly #root: string;
  readonly #blobs: Blobs;
  readonly #durable: boolean;
  readonly #heal: boolean;
  readonly #knownDamaged: KnownDamaged;
  readonly #sharer = new FileSharer();
  #mode: Promise<number> | undefined;
  /** Folders with names in them that a power cut might still take away. */
  readonly #unsynced = new Set<string>();
  /** What was found or written, and its size in bytes. */
  readonly #sizes = new Map<Digest, number>();

  constructor({ root, blobs, workspace, settings }: Layout) {
    this.lease = workspace.lease();
    this.#root = root;
    this.#blobs = blobs;
    this.#knownDamaged = new KnownDamaged(root);
    this.#durable = settings.durable;
    this.#heal = settings.heal;
  }

  /**
   * Leases a blob, and looks whether it exists and can be used. A blob of a wrong size counts as missing, and so does one
   * with wrong bytes where those are checked: when healing, and when verify has listed the digest as damaged.
   *
   * @throws CacheError CORRUPT for a link or a folder in its place
   */
  async has(blob: BlobId, signal?: AbortSignal): Promise<boolean> {
    await this.lease.add([blob.digest]);
    if ((await this.#blobs.size(blob.digest)) !== blob.size) return false;
    // Its writer may not have synced the name yet.
    this.#unsynced.add(dirname(this.#blobs.path(blob.digest)));
    const isSuspect = this.#heal || (await this.#knownDamaged.has(blob.digest));
    if (isSuspect && !(await this.#blobs.isWhole(blob, signal))) return false;
    this.#sizes.set(blob.digest, blob.size);
    return true;
  }

  /**
   * Makes sure that what was found or written still exists, and is still leased. Synchronous, for a look while
   * index.json is locked: it takes some microseconds a blob.
   *
   * @throws CacheError FAILED when the marker was deleted; LostBlobs
   */
  refuseLoss(): void {
    this.lease.refuseLoss();
    const lost = [...this.#sizes].flatMap(([digest, size]) => {
      const stats = lstatSync(this.#blobs.path(digest), { throwIfNoEntry: false });
      return stats?.isFile() === true && stats.size === size ? [] : digest;
    });
    if (lost.length > 0) throw new LostBlobs(this.#root, lost);
  }

  /** Whether something was found or written, and another process was at work here in that time or shortly before. */
  wasBusy(): boolean {
    return this.#sizes.size > 0 && this.lease.wasBusy();
  }

  /**
   * Stores a blob: either the whole of it exists afterwards, or nothing. A blob that exists already stays, unless it
   * cannot be used (see `has`); then it is replaced.
   *
   * @param expected - what the bytes must be; left out where they are made on the way
   * @throws CacheError CORRUPT
   */
  async write(
    content: Content,
    expected: BlobId | undefined,
    { where, sharing, signal }: { readonly where: string; readonly sharing: Sharing; readonly signal?: AbortSignal },
  ): Promise<BlobId> {
    const temporary = await this.lease.temporary();
    let isRenamed = false;
    try {
      const shared = expected && (await this.#sharer.share(content, expected, temporary, { sharing, where, signal }));
      const options = { root: this.#root, where, durable: this.#durable, signal };
      const blob = shared ?? (await writeBlobFile(content, expected, temporary, options));
      if (shared !== undefined) await this.#settleShared(temporary, sharing);
      isRenamed = await this.place(temporary, blob, signal);
      return blob;
    } finally {
      if (!isRenamed) await rm(temporary, { force: true });
    }
  }

  /**
   * Moves a file to the place of its blob. A blob that exists already stays, unless it cannot be used (see `has`). The
   * caller removes the file where it was not needed.
   *
   * @param temporary - on the filesystem of the layout: whole, checked, read-only and synced
   * @returns whether the file was moved
   */
  async place(temporary: string, blob: BlobId, signal?: AbortSignal): Promise<boolean> {
    const path = this.#blobs.path(blob.digest);
    await makeFolder(dirname(path), { durable: this.#durable });
    if (await this.has(blob, signal)) return false;
    await rename(temporary, path);
    this.#unsynced.add(dirname(path));
    this.#sizes.set(blob.digest, blob.size);
    await this.#knownDamaged.remove(blob.digest);
    return true;
  }

  /** A clone has the mode of what it was made from; a hard link is that very file, and stays as it is. */
  async #settleShared(temporary: string, sharing: Sharing): Promise<void> {
    const handle = await openRegular(temporary);
    try {
      if (sharing === 'copy') settleBlob(handle.fd, this.#root, await (this.#mode ??= this.#modeOfNew()));
      if (this.#durable) await syncFile(handle);
    } finally {
      await handle.close();
    }
  }

  /** What the umask leaves of the mode of a new file. Node's way to ask for it changes it for a moment. */
  async #modeOfNew(): Promise<number> {
    const temporary = await this.lease.temporary();
    const handle = await createFile(temporary);
    try {
      return (await handle.stat()).mode;
    } finally {
      await handle.close();
      await rm(temporary, { force: true });
    }
  }

  /** Syncs the folders of what was found or written so far. */
  async sync(): Promise<void> {
    if (!this.#durable) return;
    for (const folder of this.#unsynced) {
      await syncFolder(folder).catch((error: unknown) => {
        // It was deleted with all blobs; `refuseLoss` says so.
        if (!isSystemError(error, 'ENOENT')) throw error;
      });
    }
    this.#unsynced.clear();
  }

  /** Ends the lease. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.lease[Symbol.asyncDispose]();
  }
}

import { lstatSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CacheError, isSystemError } from '../../errors.js';
import type { Content } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import { type Digest, splitDigest } from '../../oci/digest.js';
import { blobFile, checkContent, statOf, writeBlobFile } from './blob-file.js';
import { Distrust } from './known-damaged.js';
import { makeFolder, syncFile, syncFolder } from '../files/durable.js';
import { createFile, openRegular, refuseOthers } from '../files/open-file.js';
import { settleBlob } from '../files/ownership.js';
import { FileSharer, type Sharing } from './share.js';
import type { Workspace } from '../workspace/workspace.js';

/**
 * The blobs of a layout on disk, each in a file named by its digest: image-spec image-layout.md, "Blobs".
 *
 * A blob is written beside its place, checked, synced, made read-only and renamed: a file under its name is whole, but
 * for damage done later. Many processes may write at once, the same blob too. What this process found or wrote here is
 * not collected while it runs.
 */
export class Blobs {
  readonly #root: string;
  readonly #workspace: Workspace;
  readonly #durable: boolean;
  readonly #heal: boolean;
  readonly #sharer = new FileSharer();
  readonly #distrust: Distrust;
  #mode: Promise<number> | undefined;
  /** Folders with names in them that a power cut might still take away. */
  readonly #unsynced = new Set<string>();
  /** What was found or written here, and its size in bytes. */
  readonly #relied = new Map<Digest, number>();

  constructor(
    root: string,
    workspace: Workspace,
    { durable, heal }: { readonly durable: boolean; readonly heal: boolean },
  ) {
    this.#root = root;
    this.#workspace = workspace;
    this.#durable = durable;
    this.#heal = heal;
    this.#distrust = new Distrust(root);
  }

  path(digest: Digest): string {
    return join(this.#root, 'blobs', ...splitDigest(digest));
  }

  /** The bytes under a digest, unverified. Reading them throws CacheError CORRUPT when there is no such file. */
  content(digest: Digest): Content {
    return blobFile(this.path(digest), digest);
  }

  /**
   * The size of a blob, in bytes; undefined when it is not there.
   *
   * @throws CacheError CORRUPT for a link or a folder in its place
   */
  async size(digest: Digest): Promise<number | undefined> {
    const stats = await statOf(this.path(digest));
    if (stats !== undefined) refuseOthers(stats, this.path(digest));
    return stats?.size;
  }

  /**
   * Whether the blob is there and can be relied on; from then on it is not collected while this process runs. One of a
   * wrong size counts as missing, and so does one with wrong bytes where those are looked at: when healing, and when
   * verify has named the digest.
   */
  async has(blob: BlobId, signal?: AbortSignal): Promise<boolean> {
    await this.#workspace.pin(blob.digest);
    if ((await this.size(blob.digest)) !== blob.size) return false;
    // Whoever wrote it may not have synced the name yet.
    this.#unsynced.add(dirname(this.path(blob.digest)));
    const suspect = this.#heal || (await this.#distrust.has(blob.digest));
    if (suspect && !(await this.isWhole(blob, signal))) return false;
    this.#relied.set(blob.digest, blob.size);
    return true;
  }

  /**
   * The blobs that were found or written here and are not there any more, since somebody has deleted them. Synchronous,
   * for a look while index.json is locked: it takes some microseconds a blob.
   */
  lost(): Digest[] {
    return [...this.#relied].flatMap(([digest, size]) => {
      const stats = lstatSync(this.path(digest), { throwIfNoEntry: false });
      return stats?.isFile() === true && stats.size === size ? [] : digest;
    });
  }

  /** Whether anything was found or written here. */
  get reliesOnAny(): boolean {
    return this.#relied.size > 0;
  }

  /** Has whoever needs a blob look at its bytes first. */
  async suspect(digest: Digest): Promise<void> {
    await this.#distrust.add(digest);
  }

  /** Whether the bytes under a digest are the right ones; those that cannot be read are not. */
  async isWhole(blob: BlobId, signal?: AbortSignal): Promise<boolean> {
    try {
      await checkContent(this.content(blob.digest), blob, { where: this.path(blob.digest), signal });
      return true;
    } catch (error) {
      if (error instanceof CacheError && error.code === 'CORRUPT') return false;
      if (isSystemError(error, 'EACCES', 'EPERM', 'EIO')) return false;
      throw error;
    }
  }

  /**
   * Stores a blob: either the whole of it is there afterwards, or nothing. One that is there already stays, unless it
   * cannot be relied on (see `has`); then it is replaced.
   *
   * @param expected - what the bytes must be; left out where they are made on the way
   * @throws CacheError CORRUPT
   */
  async write(
    content: Content,
    expected: BlobId | undefined,
    { where, sharing, signal }: { readonly where: string; readonly sharing: Sharing; readonly signal?: AbortSignal },
  ): Promise<BlobId> {
    const temporary = await this.#workspace.temporary();
    try {
      const shared = expected && (await this.#sharer.share(content, expected, temporary, { sharing, where, signal }));
      const options = { root: this.#root, where, durable: this.#durable, signal };
      const blob = shared ?? (await writeBlobFile(content, expected, temporary, options));
      if (shared !== undefined) await this.#settleShared(temporary, sharing);
      const path = this.path(blob.digest);
      await makeFolder(dirname(path), { durable: this.#durable });
      if (await this.has(blob, signal)) return blob;
      await rename(temporary, path);
      this.#unsynced.add(dirname(path));
      this.#relied.set(blob.digest, blob.size);
      await this.#distrust.remove(blob.digest);
      return blob;
    } finally {
      await rm(temporary, { force: true });
    }
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
    const temporary = await this.#workspace.temporary();
    const handle = await createFile(temporary);
    try {
      return (await handle.stat()).mode;
    } finally {
      await handle.close();
      await rm(temporary, { force: true });
    }
  }

  /** Makes what was found or written here so far survive a power cut. */
  async sync(): Promise<void> {
    if (!this.#durable) return;
    for (const folder of this.#unsynced) {
      await syncFolder(folder).catch((error: unknown) => {
        // Somebody has deleted it with all blobs; `lost` says so.
        if (!isSystemError(error, 'ENOENT')) throw error;
      });
    }
    this.#unsynced.clear();
  }
}

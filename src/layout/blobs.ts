import { randomUUID } from 'node:crypto';
import { chmod, mkdir, rename, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isSystemError } from '../errors.js';
import type { Content } from '../oci/content.js';
import type { BlobId } from '../oci/descriptor.js';
import { type Digest, splitDigest } from '../oci/digest.js';
import { blobFile, refuseOthers, statOf, writeBlobFile } from './blob-file.js';
import { FileSharer, type Sharing } from './share.js';

/** The blobs of a layout on disk, each in a file named by its digest: image-spec image-layout.md, "Blobs". */
export class Blobs {
  readonly #root: string;
  /** Beside the blobs, so that a rename moves them; hidden from tools that walk blobs/. */
  readonly #ingest: string;
  readonly #sharer = new FileSharer();

  constructor(root: string) {
    this.#root = root;
    this.#ingest = join(root, '.bkcache');
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

  /** Whether the blob is there with the right size. One of a wrong size counts as missing, and is replaced. */
  async has({ digest, size }: BlobId): Promise<boolean> {
    return (await this.size(digest)) === size;
  }

  /**
   * Stores a blob: written beside its place, checked, synced, made read-only and renamed. Many processes may do this
   * at once, with the same blob too. Either the whole blob is there afterwards or nothing is.
   *
   * @param expected - what the bytes must be; left out where they are made on the way
   * @throws CacheError CORRUPT
   */
  async write(
    content: Content,
    expected: BlobId | undefined,
    { where, sharing, signal }: { readonly where: string; readonly sharing: Sharing; readonly signal?: AbortSignal },
  ): Promise<BlobId> {
    await mkdir(this.#ingest, { recursive: true });
    const temporary = join(this.#ingest, randomUUID());
    try {
      const shared = expected && (await this.#sharer.share(content, expected, temporary, { sharing, where, signal }));
      const blob = shared ?? (await writeBlobFile(content, expected, temporary, { where, signal }));
      if (shared === undefined || sharing !== 'hardlink') await chmod(temporary, 0o444);
      const path = this.path(blob.digest);
      await mkdir(dirname(path), { recursive: true });
      if (await this.has(blob)) return blob;
      await rename(temporary, path);
      return blob;
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /** Removes the folder for unfinished blobs, unless another process has one in it. */
  async close(): Promise<void> {
    await rmdir(this.#ingest).catch((error: unknown) => {
      if (!isSystemError(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST')) throw error;
    });
  }
}

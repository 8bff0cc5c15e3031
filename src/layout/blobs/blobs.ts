import { join } from 'node:path';
import { CacheError, isSystemError } from '../../errors.js';
import type { Content } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import { type Digest, splitDigest } from '../../oci/digest.js';
import { refuseOthers } from '../files/open-file.js';
import { blobFile, checkContent } from './blob-file.js';
import { statOf } from '../files/local-disk.js';

/**
 * The blobs of a layout on disk, each in a file named by its digest: image-spec image-layout.md, "Blobs". They are
 * written, and kept from gc, through `LeasedBlobs`.
 */
export class Blobs {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  path(digest: Digest): string {
    return join(this.#root, 'blobs', ...splitDigest(digest));
  }

  /** The bytes under a digest, unverified. Reading them throws CacheError CORRUPT when there is no such file. */
  content(digest: Digest): Content {
    return blobFile(this.path(digest), digest);
  }

  /**
   * The size of a blob, in bytes; undefined when it does not exist.
   *
   * @throws CacheError CORRUPT for a link or a folder in its place
   */
  async size(digest: Digest): Promise<number | undefined> {
    const stats = await statOf(this.path(digest));
    if (stats !== undefined) refuseOthers(stats, this.path(digest));
    return stats?.size;
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
}

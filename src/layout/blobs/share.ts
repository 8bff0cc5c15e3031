import { constants } from 'node:fs';
import { copyFile, link } from 'node:fs/promises';
import { isSystemError } from '../../errors.js';
import type { Content } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import { blobFile, checkContent, missing } from './blob-file.js';
import { statOf } from '../files/local-disk.js';
import { refuseOthers } from '../files/open-file.js';

/** How the bytes of a blob in another folder get here. */
export type Sharing = 'copy' | 'hardlink';

/** Shares files with another folder of the same filesystem: as reflinks, or as hard links when asked. */
export class FileSharer {
  #cloning = true;

  /**
   * Lets the filesystem share the bytes of a file where it can; they are read once, to be checked.
   *
   * @returns undefined where it cannot, and the bytes have to be copied
   * @throws CacheError CORRUPT
   */
  async share(
    { path, onRead }: Content,
    expected: BlobId,
    temporary: string,
    {
      sharing,
      where,
      signal,
    }: { readonly sharing: Sharing; readonly where: string; readonly signal?: AbortSignal | undefined },
  ): Promise<BlobId | undefined> {
    if (path === undefined) return undefined;
    const stats = await statOf(path);
    if (stats !== undefined) refuseOthers(stats, path);
    try {
      if (sharing === 'hardlink') await link(path, temporary);
      else if (this.#cloning) await copyFile(path, temporary, constants.COPYFILE_FICLONE_FORCE);
      else return undefined;
    } catch (error) {
      // Another filesystem, or one that cannot share: the bytes are copied instead.
      if (sharing === 'copy') this.#cloning = false;
      if (isSystemError(error, 'EXDEV', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EINVAL', 'ENOTTY', 'EPERM', 'EMLINK')) {
        return undefined;
      }
      if (isSystemError(error, 'ENOENT')) throw missing(expected.digest, path);
      throw error;
    }
    const shared = { ...blobFile(temporary, expected.digest), ...(onRead === undefined ? {} : { onRead }) };
    await checkContent(shared, expected, { where, signal });
    return expected;
  }
}

import type { Stats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError } from '../../errors.js';
import { type Digest, isDigest } from '../../oci/digest.js';
import { statOf } from '../files/local-disk.js';

/** Something in a folder of `blobs/`. */
interface BlobEntry {
  readonly path: string;
  /** What its name says; undefined when it is not named as a blob. */
  readonly digest: Digest | undefined;
  readonly stats: Stats;
}

/** Everything in the folders of `blobs/`, links not followed. What goes while it is listed is left out. */
export async function* listBlobs(root: string): AsyncGenerator<BlobEntry, void, undefined> {
  for (const algorithm of (await namesIn(join(root, 'blobs'))).toSorted()) {
    const folder = join(root, 'blobs', algorithm);
    for (const name of (await namesIn(folder)).toSorted()) {
      const path = join(folder, name);
      const stats = await statOf(path);
      const digest = `${algorithm}:${name}`;
      if (stats !== undefined) yield { path, digest: isDigest(digest) ? digest : undefined, stats };
    }
  }
}

/** The names in a folder; none where there is no folder, or a link to one, which may lead out of the layout. */
export async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await lstat(folder)).isDirectory() ? await readdir(folder) : [];
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
}

import type { Digest } from '../../oci/digest.js';
import { listBlobs } from '../blobs/blob-list.js';
import { ingests } from './leftovers.js';

// An export of BuildKit has no lock and no lease: only what it has written lately shows that it is under way.

/** A blob as it was when it was listed. */
export interface Listed {
  readonly digest: Digest;
  readonly path: string;
  readonly size: number;
  readonly inode: number;
  /** In milliseconds since 1970: when its bytes were whole, as BuildKit and bkcache set it. */
  readonly time: number;
}

export async function listedBlobs(root: string): Promise<Listed[]> {
  const blobs: Listed[] = [];
  for await (const { digest, path, stats } of listBlobs(root)) {
    if (digest !== undefined) blobs.push({ digest, path, size: stats.size, inode: stats.ino, time: stats.mtimeMs });
  }
  return blobs;
}

/** @param cutoff - when lately begins; in milliseconds since 1970, here and below */
export async function isIngesting(root: string, cutoff: number): Promise<boolean> {
  return (await ingests(root)).some(({ time }) => time > cutoff);
}

/** The blobs that were written lately and are not among those that were listed before. */
export async function newBlobs(root: string, cutoff: number, before: readonly Listed[]): Promise<Listed[]> {
  const known = new Map(before.map(({ digest, inode }) => [digest, inode]));
  return (await listedBlobs(root)).filter(({ digest, inode, time }) => time > cutoff && known.get(digest) !== inode);
}

/**
 * The blobs of something finished that were written lately, and after all its manifests: that was for another export.
 *
 * @param slack - how long after a manifest a blob may still be of the same export, in milliseconds
 */
export function writtenAfterwards(
  blobs: readonly Listed[],
  manifests: ReadonlySet<Digest>,
  { cutoff, slack }: { readonly cutoff: number; readonly slack: number },
): Listed[] {
  let finished = 0;
  for (const { digest, time } of blobs) if (manifests.has(digest)) finished = Math.max(finished, time);
  return blobs.filter(({ time }) => time > cutoff && time > finished + slack);
}

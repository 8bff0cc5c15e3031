import type { BlobId } from '../../oci/descriptor.js';
import { sha256 } from '../../oci/digest.js';

/** Which of the blobs are read: all, or a part of them. */
export type Sample =
  /** Of `of` parts into which digests fall, the one of this number, from 1: `of` runs read everything once. */
  | { readonly part: number; readonly of: number }
  /** This share of the blobs, chosen at random. */
  | { readonly share: number }
  /** Blobs up to this many bytes in all, chosen at random; one at least. */
  | { readonly bytes: number };

/**
 * Chooses blobs.
 *
 * @param describe - the blob that an item stands for
 */
export function sampleOf<T>(
  blobs: readonly T[],
  sample: Sample | undefined,
  describe: (item: T) => BlobId,
): readonly T[] {
  if (sample === undefined) return blobs;
  if ('part' in sample) return blobs.filter((blob) => partOf(describe(blob).digest, sample.of) === sample.part);
  const shuffled = shuffle(blobs);
  if ('share' in sample) return shuffled.slice(0, Math.ceil(shuffled.length * sample.share));
  let left = sample.bytes;
  return shuffled.filter((blob, index) => {
    left -= describe(blob).size;
    return left >= 0 || index === 0;
  });
}

/** Fisher and Yates, as Knuth has it (TAOCP, volume 2, 3.4.2, algorithm P). */
function shuffle<T>(items: readonly T[]): T[] {
  const shuffled = [...items];
  for (let last = shuffled.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1));
    const [a, b] = [shuffled[last], shuffled[other]];
    if (a !== undefined && b !== undefined) [shuffled[last], shuffled[other]] = [b, a];
  }
  return shuffled;
}

function partOf(digest: string, of: number): number {
  return (Number.parseInt(sha256(digest).slice('sha256:'.length, 'sha256:'.length + 12), 16) % of) + 1;
}

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
 * @param random - 0 up to 1, as Math.random
 */
export function sampleOf<T extends BlobId>(
  blobs: readonly T[],
  sample: Sample | undefined,
  random: () => number = Math.random,
): readonly T[] {
  if (sample === undefined) return blobs;
  if ('part' in sample) return blobs.filter(({ digest }) => partOf(digest, sample.of) === sample.part);
  const shuffled = blobs
    .map((blob) => ({ blob, order: random() }))
    .toSorted((a, b) => a.order - b.order)
    .map(({ blob }) => blob);
  if ('share' in sample) return shuffled.slice(0, Math.ceil(shuffled.length * sample.share));
  let left = sample.bytes;
  return shuffled.filter(({ size }, index) => {
    left -= size;
    return left >= 0 || index === 0;
  });
}

function partOf(digest: string, of: number): number {
  return (Number.parseInt(sha256(digest).slice('sha256:'.length, 'sha256:'.length + 12), 16) % of) + 1;
}

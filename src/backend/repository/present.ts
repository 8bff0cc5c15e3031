import { parallel } from '../../bytes/parallel.js';
import type { BlobId } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';

/** Looks for blobs at once: a look is a small request, or a look at a file. */
const LOOKS_AT_ONCE = 32;

/** Which of some blobs are present, where each has to be looked for by itself. */
export async function presentOf(
  blobs: readonly BlobId[],
  isPresent: (blob: BlobId, signal: AbortSignal) => Promise<boolean>,
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<Digest>> {
  const present = new Set<Digest>();
  await parallel(blobs, LOOKS_AT_ONCE, signal, async (blob, inner) => {
    if (await isPresent(blob, inner)) present.add(blob.digest);
  });
  return present;
}

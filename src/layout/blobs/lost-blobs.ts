import { CacheError } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';

/** How often blobs are written again that another process deletes. */
const REWRITES = 20;

/**
 * Blobs were deleted that a cache needs while the cache was being written: by hand, or by an export of BuildKit with
 * reset=true, which deletes what other builds are writing (client/solve.go, resetCacheStore).
 */
export class LostBlobs extends CacheError {
  readonly digests: ReadonlySet<Digest>;

  constructor(root: string, digests: readonly Digest[]) {
    const [first = ''] = digests;
    const others = digests.length === 1 ? '' : ` and ${digests.length - 1} more`;
    super('FAILED', `somebody deleted blobs in ${root} that were just relied on: ${first}${others}`, {
      hint: 'an export of BuildKit with reset=true deletes what others are writing; run this again when none runs',
      side: 'export',
    });
    this.digests = new Set(digests);
  }
}

/**
 * Writes, and writes again when blobs were deleted meanwhile.
 *
 * @param write - is told which blobs were deleted since the last time
 * @throws LostBlobs when they are deleted each time
 */
export async function rewriting<T>(write: (lost: ReadonlySet<Digest>) => Promise<T>): Promise<T> {
  let lost: ReadonlySet<Digest> = new Set();
  for (let tries = 0; ; tries++) {
    try {
      return await write(lost);
    } catch (error) {
      if (!(error instanceof LostBlobs) || tries === REWRITES) throw error;
      lost = error.digests;
    }
  }
}

import { CacheError } from '../errors.js';

/** A blob of fewer bytes is done in the main thread before another one has started. */
export const WORTH_A_THREAD = 1024 * 1024;

/**
 * The most that a layer may unpack to, in bytes, unless something else is asked for. Real layers have some tens of
 * gigabytes at most; a blob that was made to fill disks has no end.
 */
export const MAX_LAYER_SIZE = 128 * 1024 ** 3;

/**
 * Passes bytes on, up to a limit.
 *
 * @param where - the blob, for the message
 * @throws CacheError FAILED at the first byte too many
 */
export async function* limited(
  bytes: AsyncIterable<Uint8Array>,
  limit: number,
  where: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  let size = 0;
  for await (const chunk of bytes) {
    size += chunk.length;
    if (size > limit) {
      throw new CacheError('FAILED', `${where} unpacks to more than ${limit} bytes`, {
        hint: 'if it is not there to do harm, allow more with --max-layer-size',
      });
    }
    yield chunk;
  }
}

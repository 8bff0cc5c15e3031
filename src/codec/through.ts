import { pipeline, Readable, type Transform } from 'node:stream';
import { CacheError } from '../errors.js';

/**
 * Sends bytes through a stream of Node's, pulled by whoever reads the result; both ends are closed when either stops.
 *
 * @param blame - makes the error for what the stream itself throws; errors of the source pass as they are
 */
export async function* through(
  source: AsyncIterable<Uint8Array>,
  transform: Transform,
  blame: (cause: Error) => CacheError,
): AsyncGenerator<Uint8Array, void, undefined> {
  let sourceError: unknown;
  const guarded = async function* () {
    try {
      yield* source;
    } catch (error) {
      sourceError = error;
      throw error;
    }
  };
  // The callback form: an error reaches the reader through the transform, and must not be raised a second time.
  pipeline(Readable.from(guarded(), { objectMode: false, highWaterMark: 1 << 20 }), transform, () => undefined);
  try {
    for await (const chunk of transform) yield chunk as Uint8Array;
  } catch (error) {
    if (sourceError !== undefined) throw sourceError;
    throw error instanceof CacheError ? error : blame(error as Error);
  }
}

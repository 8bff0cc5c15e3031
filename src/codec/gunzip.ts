import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { CacheError } from '../errors.js';

// Node's own 16 KiB make a task for its threads of every few lines of text.
// What is unpacked ahead of the reader keeps both busy.
const OPTIONS = { chunkSize: 512 * 1024, highWaterMark: 1024 * 1024 };

/**
 * Unpacks gzip members to the end of the last, at which the bytes have to end, too: Node's gunzip would take a zero for
 * the end of everything, and leave alone what is behind it. To Go, and so to BuildKit, that is no gzip (compress/gzip).
 *
 * @param blame - makes the error for a stream that is none; errors of the source pass as they are
 */
export async function* gunzip(
  source: AsyncIterable<Uint8Array>,
  blame: (cause: Error) => CacheError,
): AsyncGenerator<Uint8Array, void, undefined> {
  const decoder = createGunzip(OPTIONS);
  let sourceError: unknown;
  let size = 0;
  let isRead = false;
  const guarded = async function* () {
    try {
      for await (const chunk of source) {
        size += chunk.length;
        yield chunk;
      }
      isRead = true;
    } catch (error) {
      sourceError = error;
      throw error;
    }
  };
  // The callback form: an error reaches the reader through the decoder, and must not be raised a second time.
  pipeline(Readable.from(guarded(), { objectMode: false, highWaterMark: 1 << 20 }), decoder, () => undefined);
  try {
    for await (const chunk of decoder) yield chunk as Uint8Array;
  } catch (error) {
    if (sourceError !== undefined) throw sourceError;
    throw error instanceof CacheError ? error : blame(error as Error);
  }
  if (!isRead || decoder.bytesWritten < size) throw blame(new Error('there are bytes behind its end'));
}

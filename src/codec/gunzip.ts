import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { CacheError } from '../errors.js';

// Node's own 16 KiB make a task for its threads of every few lines of text.
// What is decompressed ahead of the reader keeps both busy.
const OPTIONS = { chunkSize: 512 * 1024, highWaterMark: 1024 * 1024 };
/** More zeros than a gzip member can end with: its checksum, its size and an empty block. */
const ENOUGH_ZEROS = 64;

/**
 * Decompresses gzip members. The bytes must end with the last member: Node's gunzip stops at a zero byte and ignores the
 * rest, which Go refuses (compress/gzip). Zeros up to the end, which pad a file to the size of a block, are skipped: pigz,
 * which BuildKit's image uses, skips them.
 *
 * @param blame - makes the error for an invalid stream; errors of the source pass unchanged
 * @param onPadding - called with the number of zeros after the stream, if there are zeros
 */
export async function* gunzip(
  source: AsyncIterable<Uint8Array>,
  blame: (cause: Error) => CacheError,
  onPadding?: (zeros: number) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  const decoder = createGunzip(OPTIONS);
  let sourceError: unknown;
  let size = 0;
  let isRead = false;
  // The zeros at the end of the bytes read so far. They are passed on when other bytes follow.
  let zeros = 0;
  const guarded = async function* () {
    try {
      for await (const chunk of source) {
        const end = endOfContent(chunk);
        size += chunk.length;
        if (end === 0) {
          zeros += chunk.length;
          continue;
        }
        yield* zeroBytes(zeros);
        yield chunk.subarray(0, end);
        zeros = chunk.length - end;
      }
      isRead = true;
      yield* zeroBytes(Math.min(zeros, ENOUGH_ZEROS));
    } catch (error) {
      sourceError = error;
      throw error;
    }
  };
  // The callback form of pipeline: an error reaches the reader through the decoder, and must not be thrown twice.
  pipeline(Readable.from(guarded(), { objectMode: false, highWaterMark: 1 << 20 }), decoder, () => undefined);
  try {
    for await (const chunk of decoder) yield chunk as Uint8Array;
  } catch (error) {
    if (sourceError !== undefined) throw sourceError;
    throw error instanceof CacheError ? error : blame(error as Error);
  }
  const behind = size - decoder.bytesWritten;
  if (!isRead || behind > zeros) throw blame(new Error('there are bytes after its end'));
  if (behind > 0) onPadding?.(behind);
}

/** The offset after the last byte that is not zero. */
function endOfContent(chunk: Uint8Array): number {
  let end = chunk.length;
  while (end > 0 && chunk[end - 1] === 0) end--;
  return end;
}

function* zeroBytes(count: number): Generator<Uint8Array> {
  for (let left = count; left > 0; left -= OPTIONS.chunkSize) yield Buffer.alloc(Math.min(left, OPTIONS.chunkSize));
}

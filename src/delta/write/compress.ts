import type { CCtx } from 'zstd-napi/binding.js';
import type { Turns } from './turns.js';

/** The level of the writer: `max` takes several times as long. */
export type DeltaLevel = 'normal' | 'max';

const OUTPUT_CHUNK = 256 * 1024;
/** As a logarithm of bytes. zstd and the readers of other programs take 27; 26 needs 64 MB less on both sides. */
const WINDOW_LOG = 26;
const MIB = 1024 * 1024;
const EMPTY = Buffer.alloc(0);
/** The most that is compressed in one call, in bytes: it keeps the thread some milliseconds. */
const INPUT_CHUNK = 64 * 1024;
/** In bytes. */
const SMALL = 8 * MIB;

/** An idle context, for reuse: the memory of a context is freed long after its last use. */
let idle: CCtx | undefined;

/** The level of zstd: a small stream takes no time at the highest that is of use. */
function levelOf(level: DeltaLevel, size: number): number {
  return level === 'max' || size <= SMALL ? 19 : 12;
}

/**
 * Compresses the stream of a delta as one zstd frame with its size and a checksum. The same bytes give the same frame.
 *
 * @param size - of the stream, in bytes
 */
export async function* compressDelta(
  stream: AsyncIterable<Uint8Array>,
  size: number,
  { level, turns }: { readonly level: DeltaLevel; readonly turns: Turns },
): AsyncGenerator<Buffer, void, undefined> {
  const { CCtx, CParameter, EndDirective, ResetDirective } = (await import('zstd-napi/binding.js')).default;
  const context = idle ?? new CCtx();
  idle = undefined;
  try {
    context.setParameter(CParameter.compressionLevel, levelOf(level, size));
    context.setParameter(CParameter.checksumFlag, 1);
    context.setParameter(CParameter.windowLog, Math.max(10, Math.min(WINDOW_LOG, Math.ceil(Math.log2(size + 1)))));
    context.setPledgedSrcSize(size);
    let output = Buffer.allocUnsafeSlow(OUTPUT_CHUNK);
    let filled = 0;
    for await (const chunk of stream) {
      for (let at = 0; at < chunk.length;) {
        const [, written, read] = context.compressStream2(
          output.subarray(filled),
          chunk.subarray(at, at + INPUT_CHUNK),
          EndDirective.continue,
        );
        at += read;
        filled += written;
        if (filled === output.length) {
          yield output;
          output = Buffer.allocUnsafeSlow(OUTPUT_CHUNK);
          filled = 0;
        }
        await turns.pause();
      }
    }
    for (let left = 1; left > 0;) {
      const [leftNow, written] = context.compressStream2(output.subarray(filled), EMPTY, EndDirective.end);
      left = leftNow;
      yield output.subarray(0, filled + written);
      output = Buffer.allocUnsafeSlow(OUTPUT_CHUNK);
      filled = 0;
    }
  } finally {
    context.reset(ResetDirective.sessionAndParameters);
    shrink(context);
    idle = context;
  }
}

/** Makes the library free large tables, which it does after 128 frames that do not need them (zstd_cwksp.h). */
function shrink(context: CCtx): void {
  const frame = Buffer.alloc(64);
  for (let count = 0; count <= 130; count++) context.compress2(frame, EMPTY);
}

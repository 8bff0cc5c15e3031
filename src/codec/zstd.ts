import { availableParallelism } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { CCtx, DCtx } from 'zstd-napi/binding.js';
import { beginning } from '../bytes/beginning.js';
import { CacheError } from '../errors.js';
import { WINDOW_MEMORY } from './limits.js';
import { reserveWindow } from './window-budget.js';
import { HEADER_SIZE, windowOf } from './zstd-frame.js';

const EMPTY = Buffer.alloc(0);
const MIB = 1024 * 1024;
/** A tar up to this size is compressed in one call; in bytes. */
const ONE_GO = MIB;
/** The sizes of output chunks, compressed and decompressed; in bytes. */
const OUTPUT_CHUNK = 256 * 1024;
const TAR_CHUNK = 512 * 1024;
// Above level 19 zstd needs up to 700 MB of tables; with the tables of level 19 its search stays as thorough.
const LEVEL_OF_TABLES = 19;
const TABLES = { windowLog: 23, chainLog: 24, hashLog: 22 } as const;
/** From this level on, a worker has large tables, and its window is as large as a job. */
const THOROUGH = 13;
/** The limit of workers at such levels, since each needs up to 150 MB. */
const THOROUGH_WORKERS = 4;

/** The largest supported window, in bytes: the limit of Go's zstd, which BuildKit uses (zstd, MaxWindowSize). */
const MAX_WINDOW = 2 ** 29;

/** Idle contexts, for reuse: each keeps tens of megabytes until it is garbage-collected. */
const idle: CCtx[] = [];
const idleDecoders: DCtx[] = [];
/** The largest window that an idle decoder keeps, in bytes. */
const SMALL_WINDOW = 8 * MIB;
/** A frame with a window of 1 KiB and no content size: one empty raw block (RFC 8878, 3.1.1). */
const EMPTY_FRAME = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0, 1, 0, 0]);

/**
 * Compresses a tar as one zstd frame with a checksum, so that a reader notices damage. A tar over 1 MiB is compressed by
 * zstd's workers, even on one core, since their output differs from that of a call without workers. The output depends on
 * the job size, which is fixed here, and not on the number of workers.
 *
 * A smaller tar uses tables of its size, instead of clearing hundreds of megabytes for a few kilobytes.
 *
 * @param level - 0 is the library's default; a level out of range is the nearest valid level
 * @param workers - the number of cores by default
 */
export async function* encodeZstd(
  tar: AsyncIterable<Uint8Array>,
  level: number,
  workers: number = availableParallelism(),
): AsyncGenerator<Uint8Array, void, undefined> {
  const { CCtx, EndDirective, ResetDirective } = await library();
  const context = idle.pop() ?? new CCtx();
  let isWhole = false;
  try {
    yield* compressWith(context, tar, level, workers);
    isWhole = true;
  } finally {
    // The workers of a frame that was given up have to end first: a reset under them crashes the process.
    if (!isWhole) {
      const output = Buffer.allocUnsafeSlow(OUTPUT_CHUNK);
      while (context.compressStream2(output, EMPTY, EndDirective.end)[0] > 0) await nextTurn();
    }
    context.reset(ResetDirective.sessionAndParameters);
    idle.push(context);
  }
}

async function* compressWith(
  context: CCtx,
  tar: AsyncIterable<Uint8Array>,
  level: number,
  workers: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { CParameter, EndDirective, compressBound, maxCLevel, minCLevel } = await library();
  context.setParameter(CParameter.compressionLevel, Math.max(minCLevel(), Math.min(level, maxCLevel())));
  context.setParameter(CParameter.checksumFlag, 1);
  const { head, rest } = await beginning(tar, ONE_GO);
  if (rest === undefined) {
    const output = Buffer.allocUnsafeSlow(compressBound(head.length));
    yield output.subarray(0, context.compress2(output, head));
    return;
  }
  const isThorough = level >= THOROUGH;
  context.setParameter(CParameter.nbWorkers, isThorough ? Math.min(workers, THOROUGH_WORKERS) : workers);
  context.setParameter(CParameter.jobSize, (isThorough ? 32 : 4) * MIB);
  if (level > LEVEL_OF_TABLES) {
    for (const [name, value] of Object.entries(TABLES)) {
      context.setParameter(CParameter[name as keyof typeof TABLES], value);
    }
  }
  let output = Buffer.allocUnsafeSlow(OUTPUT_CHUNK);
  let filled = 0;
  for await (const chunk of rest) {
    for (let at = 0; at < chunk.length;) {
      const [, written, read] = context.compressStream2(
        output.subarray(filled),
        chunk.subarray(at),
        EndDirective.continue,
      );
      at += read;
      filled += written;
      // The call waited for a worker, so that other tasks of this thread get their turn now.
      if (at < chunk.length) await nextTurn();
      if (filled < output.length) continue;
      yield output;
      output = Buffer.allocUnsafeSlow(OUTPUT_CHUNK);
      filled = 0;
    }
  }
  for (let left = 1; left > 0;) {
    const [leftNow, written] = context.compressStream2(output.subarray(filled), EMPTY, EndDirective.end);
    left = leftNow;
    filled += written;
    await nextTurn();
    if (filled > 0) yield output.subarray(0, filled);
    output = Buffer.allocUnsafeSlow(OUTPUT_CHUNK);
    filled = 0;
  }
}

/** The limits of decompression. */
export interface DecodeOptions {
  /** The memory for the windows of all open streams, in bytes. */
  readonly windowMemory?: number | undefined;
  /** The blob, for messages. */
  readonly where: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Decompresses zstd frames, and skips skippable frames. Each frame waits for memory for its window.
 *
 * @param blame - makes the error for a damaged or short frame; errors of the source pass unchanged
 * @throws CacheError FAILED for a window over 512 MiB, or over the memory for all windows
 */
export async function* decodeZstd(
  blob: AsyncIterable<Uint8Array>,
  blame: (cause: Error) => CacheError,
  { windowMemory = WINDOW_MEMORY, where, signal }: DecodeOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { DCtx, DParameter, ResetDirective } = await library();
  const context = idleDecoders.pop() ?? new DCtx();
  context.setParameter(DParameter.windowLogMax, Math.log2(MAX_WINDOW));
  const decompress = (tar: Uint8Array, input: Uint8Array) => {
    try {
      return context.decompressStream(tar, input);
    } catch (error) {
      throw blame(error as Error);
    }
  };
  let window = 0;
  let release: () => void = () => undefined;
  /** Reserves memory for the window of the next frame, before the library allocates it. */
  const enter = async (wanted: number) => {
    if (wanted > MAX_WINDOW) throw tooLargeWindow(where);
    if (wanted <= window) return;
    // The old window is freed before the wait, so that two streams cannot wait for each other.
    if (window > 0) shrink(context);
    release();
    window = 0;
    release = await reserveWindow(wanted, windowMemory, where, signal);
    window = wanted;
  };
  try {
    let tar = Buffer.allocUnsafeSlow(TAR_CHUNK);
    let filled = 0;
    // How many bytes of the frame the library still needs or has; 0 at the end of a frame.
    let left = 0;
    let header: Buffer = EMPTY;
    for await (const piece of blob) {
      const chunk: Uint8Array = header.length === 0 ? piece : Buffer.concat([header, piece]);
      header = EMPTY;
      for (let at = 0, more = false; at < chunk.length || more;) {
        if (left === 0 && !more) {
          const start = Buffer.from(chunk.subarray(at, at + HEADER_SIZE));
          const wanted = windowOf(start);
          if (wanted === undefined) {
            header = start;
            break;
          }
          await enter(wanted);
        }
        const [leftNow, written, read] = decompress(tar.subarray(filled), chunk.subarray(at));
        left = leftNow;
        at += read;
        filled += written;
        more = filled === tar.length && left > 0;
        if (filled < tar.length) continue;
        yield tar;
        tar = Buffer.allocUnsafeSlow(TAR_CHUNK);
        filled = 0;
      }
    }
    if (left > 0 || header.length > 0) throw blame(new Error('unexpected end of file'));
    if (filled > 0) yield tar.subarray(0, filled);
  } finally {
    context.reset(ResetDirective.sessionAndParameters);
    if (window > SMALL_WINDOW) shrink(context);
    release();
    idleDecoders.push(context);
  }
}

/**
 * Makes the library free a large window, which it does after 128 frames that do not need it (ZSTD_DCtx_isOversizedTooLong).
 * Otherwise an idle context would keep the window.
 */
function shrink(context: DCtx): void {
  const nothing = new Uint8Array(1);
  for (let count = 0; count <= 128; count++) context.decompressStream(nothing, EMPTY_FRAME);
}

function tooLargeWindow(where: string): CacheError {
  return new CacheError('FAILED', `${where}: the zstd stream has a window of more than ${MAX_WINDOW / MIB} MiB`, {
    hint: 'BuildKit refuses it too; compress it again with a smaller window, as with "zstd --long=27"',
  });
}

/** Loads the native library at first use. */
async function library() {
  return (await import('zstd-napi/binding.js')).default;
}

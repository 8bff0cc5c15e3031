import { availableParallelism } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { CCtx, DCtx } from 'zstd-napi/binding.js';
import { beginning } from '../bytes/beginning.js';
import type { CacheError } from '../errors.js';
import { reserveWindow, WINDOW_MEMORY } from './window-budget.js';
import { HEADER_SIZE, windowOf } from './zstd-frame.js';

const EMPTY = Buffer.alloc(0);
const MIB = 1024 * 1024;
/** What is no longer than this is packed in one go; in bytes of tar. */
const ONE_GO = MIB;
/** Bytes that leave at a time; of packed ones and of unpacked ones. */
const PACKED_CHUNK = 256 * 1024;
const TAR_CHUNK = 512 * 1024;
// Above level 19 zstd wants up to 700 MB of tables; with those of level 19 it still searches as hard as it was asked to.
const LEVEL_OF_TABLES = 19;
const TABLES = { windowLog: 23, chainLog: 24, hashLog: 22 } as const;
/** From this level on, a worker has large tables, and its window fills a job of the size below. */
const THOROUGH = 13;
/** The most workers at such levels, for the sake of memory: each has up to 150 MB. */
const THOROUGH_WORKERS = 4;

/** The largest window that is unpacked, in bytes; that of Go's zstd, which BuildKit uses (zstd, MaxWindowSize). */
export const MAX_WINDOW = 2 ** 29;

/** Contexts hold tens of megabytes until they are collected, and so are used again. */
const idle: CCtx[] = [];
const idleDecoders: DCtx[] = [];
/** A decoder that waits for the next stream keeps no larger window, in bytes. */
const SMALL_WINDOW = 8 * MIB;
/** A frame of 1 KiB of window whose size is not said: an empty raw block, the last (RFC 8878, 3.1.1). */
const EMPTY_FRAME = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0, 1, 0, 0]);

/**
 * Packs a tar as one zstd frame with a checksum, which lets a reader notice damage by itself. What is longer than 1 MiB
 * is packed by zstd's own workers, also where there is but one core: their output is not that of a call without
 * workers. It depends on the size of their jobs, which is fixed here, and not on their number.
 *
 * What is shorter takes tables of a fitting size instead of clearing hundreds of megabytes for a few kilobytes.
 *
 * @param level - 0 is the library's own default; what is beyond its levels is the nearest of them
 * @param workers - as many as there are cores by default
 */
export async function* encodeZstd(
  tar: AsyncIterable<Uint8Array>,
  level: number,
  workers: number = availableParallelism(),
): AsyncGenerator<Uint8Array, void, undefined> {
  const { CCtx, ResetDirective } = await library();
  const context = idle.pop() ?? new CCtx();
  try {
    yield* packWith(context, tar, level, workers);
  } finally {
    context.reset(ResetDirective.sessionAndParameters);
    idle.push(context);
  }
}

async function* packWith(
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
    const packed = Buffer.allocUnsafeSlow(compressBound(head.length));
    yield packed.subarray(0, context.compress2(packed, head));
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
  let packed = Buffer.allocUnsafeSlow(PACKED_CHUNK);
  let filled = 0;
  for await (const chunk of rest) {
    for (let at = 0; at < chunk.length;) {
      const [, written, read] = context.compressStream2(
        packed.subarray(filled),
        chunk.subarray(at),
        EndDirective.continue,
      );
      at += read;
      filled += written;
      // It waited for one of its workers, and others may have waited for this thread.
      if (at < chunk.length) await nextTurn();
      if (filled < packed.length) continue;
      yield packed;
      packed = Buffer.allocUnsafeSlow(PACKED_CHUNK);
      filled = 0;
    }
  }
  for (let left = 1; left > 0;) {
    const [leftNow, written] = context.compressStream2(packed.subarray(filled), EMPTY, EndDirective.end);
    left = leftNow;
    filled += written;
    await nextTurn();
    if (filled > 0) yield packed.subarray(0, filled);
    packed = Buffer.allocUnsafeSlow(PACKED_CHUNK);
    filled = 0;
  }
}

/** What a stream may need. */
export interface DecodeOptions {
  /** What the windows of all streams that are open at once may have together, in bytes. */
  readonly windowMemory?: number | undefined;
  /** The blob, for messages. */
  readonly where: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Unpacks zstd frames, skippable ones among them. Each frame has a window of its own size, which is waited for.
 *
 * @param blame - makes the error for a frame that is damaged or cut short; errors of the source pass as they are
 * @throws CacheError FAILED for a window that is larger than all may be together
 */
export async function* decodeZstd(
  blob: AsyncIterable<Uint8Array>,
  blame: (cause: Error) => CacheError,
  { windowMemory = WINDOW_MEMORY, where, signal }: DecodeOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { DCtx, DParameter, ResetDirective } = await library();
  const context = idleDecoders.pop() ?? new DCtx();
  context.setParameter(DParameter.windowLogMax, Math.log2(MAX_WINDOW));
  const unpack = (tar: Uint8Array, packed: Uint8Array) => {
    try {
      return context.decompressStream(tar, packed);
    } catch (error) {
      throw blame(error as Error);
    }
  };
  let window = 0;
  let release: () => void = () => undefined;
  /** Makes room for the window of a frame that begins, before the library does. */
  const enter = async (wanted: number) => {
    if (wanted <= window || wanted > MAX_WINDOW) return;
    // Nothing is held while this waits, so that no two streams wait for each other.
    if (window > 0) shrink(context);
    release();
    window = 0;
    release = await reserveWindow(wanted, windowMemory, where, signal);
    window = wanted;
  };
  try {
    let tar = Buffer.allocUnsafeSlow(TAR_CHUNK);
    let filled = 0;
    // What the library still has to see or to give of a frame; 0 at the end of one.
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
        const [leftNow, written, read] = unpack(tar.subarray(filled), chunk.subarray(at));
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
 * Has the library give back a large window: it does so once 128 frames did not need it (ZSTD_DCtx_isOversizedTooLong).
 * Until it is collected, a context would hold it otherwise.
 */
function shrink(context: DCtx): void {
  const nothing = new Uint8Array(1);
  for (let count = 0; count <= 128; count++) context.decompressStream(nothing, EMPTY_FRAME);
}

/** Whether a frame wants to remember more than there is to be room for. */
export function isTooLargeWindow(error: Error): boolean {
  return error.message.includes('requires too much memory');
}

/** Loaded when it is needed: it is native code. */
async function library() {
  return (await import('zstd-napi/binding.js')).default;
}

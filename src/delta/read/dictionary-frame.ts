import type { DCtx } from 'zstd-napi/binding.js';
import { HEADER_SIZE, windowOf } from '../../codec/zstd-frame.js';
import { CacheError } from '../../errors.js';
import { badDelta } from '../format.js';
import { type RandomReader, readFully } from '../random-reader.js';
import type { Operations } from './operations.js';

const MIB = 1024 * 1024;
/** The largest source that is loaded as a dictionary, in bytes. It is in memory twice for a moment. */
const MAX_DICTIONARY = 64 * MIB;
/** A window up to this size is taken from every frame, in bytes: encoders have windows of a fixed size for small files. */
const SMALL_WINDOW = 8 * MIB;
/** The format's limit of a window, in bytes. */
const MAX_WINDOW = 512 * MIB;
const OUTPUT_CHUNK = 128 * 1024;

/**
 * Decompresses zstd frames that have a source as their dictionary: operation 5, as `zstd --patch-from` makes them. Their
 * windows are not reserved: a reader that waits for memory with the window of the whole delta open may wait for another that does
 * the same.
 */
export class DictionaryFrames {
  readonly #where: string;
  #context: DCtx | undefined;

  /** @param where - the delta, for messages */
  constructor(where: string) {
    this.#where = where;
  }

  /**
   * The content of the next frame in the stream.
   *
   * @param size - of the frame, in bytes
   * @param left - the bytes that the new tar still lacks
   * @throws CacheError FAILED for a source over 64 MiB; CORRUPT for a damaged frame, and for a window larger than what source
   *   and new tar need
   */
  async *read(
    operations: Operations,
    size: number,
    source: RandomReader,
    left: number,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const where = this.#where;
    if (source.size > MAX_DICTIONARY) {
      throw new CacheError(
        'FAILED',
        `${where}: it uses a file of ${source.size} bytes as zstd dictionary; up to ${MAX_DICTIONARY} are supported`,
        { hint: 'make the delta without zstd dictionaries' },
      );
    }
    let input: Uint8Array = new Uint8Array();
    let rest = size;
    while (input.length < HEADER_SIZE && rest > 0) {
      const piece = await operations.some(Math.min(HEADER_SIZE - input.length, rest));
      input = Buffer.concat([input, piece]);
      rest -= piece.length;
    }
    const window = windowOf(Buffer.from(input));
    if (window === undefined || window === 0) throw badDelta(where, 'operation 5 without a zstd frame');
    // An encoder takes a power of two that holds the dictionary and the content. Memory is used as far as bytes come.
    if (window > Math.max(SMALL_WINDOW, 4 * (source.size + left)) || window > MAX_WINDOW) {
      throw badDelta(where, `a zstd frame has a window of ${window} bytes, too many for the layer`, 'limit');
    }
    try {
      const context = await this.#load(source);
      const output = Buffer.allocUnsafeSlow(OUTPUT_CHUNK);
      for (let isOpen = true; isOpen;) {
        if (input.length === 0 && rest > 0) {
          input = await operations.some(rest);
          rest -= input.length;
        }
        const [needed, written, read] = decompress(context, output, input, where);
        if (written > 0) yield output.subarray(0, written);
        input = input.subarray(read);
        isOpen = needed > 0;
        if (isOpen && written < output.length && read === 0 && rest === 0) {
          throw badDelta(where, 'a zstd frame of operation 5 is cut short');
        }
      }
      if (input.length > 0 || rest > 0) throw badDelta(where, 'bytes follow the zstd frame of operation 5');
    } finally {
      // A large window stays allocated as long as its context.
      if (window > SMALL_WINDOW) this.#context = undefined;
    }
  }

  async #load(source: RandomReader): Promise<DCtx> {
    const { DCtx, DParameter, ResetDirective } = (await import('zstd-napi/binding.js')).default;
    const context = this.#context ?? new DCtx();
    this.#context = context;
    context.reset(ResetDirective.sessionAndParameters);
    context.setParameter(DParameter.windowLogMax, Math.log2(MAX_WINDOW));
    // Bytes that begin with the magic number of trained dictionaries would be read as one. A byte before them prevents
    // that; offsets in a frame count back from its content, so that it changes none.
    const dictionary = Buffer.allocUnsafeSlow(1 + source.size);
    dictionary[0] = 0;
    readFully(source, dictionary.subarray(1), 0);
    context.loadDictionary(dictionary);
    return context;
  }
}

function decompress(context: DCtx, output: Uint8Array, input: Uint8Array, where: string) {
  try {
    return context.decompressStream(output, input);
  } catch (error) {
    throw badDelta(where, `a zstd frame of operation 5 is damaged: ${(error as Error).message}`, 'format', error);
  }
}

import { badDelta, MAX_SIZE_BYTES, Operation } from '../format.js';

/** The longest head of an operation, in bytes: itself and its size. */
const MAX_HEAD = 1 + MAX_SIZE_BYTES;
const MIB = 1024 * 1024;

/** The head of an operation; its data follows in the stream. */
export interface Head {
  operation: number;
  /** In bytes; of the data, or of what is copied; for `seek` a position. */
  size: number;
}

/**
 * Takes operations out of the decompressed stream of a delta. No more of the stream is in memory than two of its chunks,
 * whatever a size says.
 */
export class Operations implements AsyncDisposable {
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #where: string;
  readonly #highest: number;
  readonly #most: number;
  #chunk: Uint8Array = new Uint8Array();
  #at = 0;
  #read = 0;
  #isAtEnd = false;

  /**
   * @param promised - the size of the new tar, in bytes. Operations that add nothing to it have to end somewhere: a stream of
   *   four times its size, and one MiB, is more than any two tars need
   */
  constructor(stream: AsyncIterable<Uint8Array>, version: 1 | 2, promised: number, where: string) {
    this.#source = stream[Symbol.asyncIterator]();
    this.#highest = version === 2 ? Operation.zstdDictionary : Operation.seek;
    this.#most = 4 * promised + MIB;
    this.#where = where;
  }

  /** Whether `next` needs no more of the stream than is at hand: operations are many, and each `await` costs. */
  get hasHead(): boolean {
    return this.#chunk.length - this.#at >= MAX_HEAD;
  }

  /** Reads on. To be called where there is no head. @returns whether there is another operation */
  async fill(): Promise<boolean> {
    while (!this.hasHead && !this.#isAtEnd) await this.#more();
    return this.#at < this.#chunk.length;
  }

  /** The head of the next operation. @throws CacheError CORRUPT */
  next(head: Head): void {
    const operation = this.#chunk[this.#at++] ?? 0;
    if (operation > this.#highest) {
      const only = operation === Operation.zstdDictionary ? ', which exists in version 2 only' : ' does not exist';
      throw badDelta(this.#where, `operation ${operation}${only}`);
    }
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.#chunk[this.#at++];
      if (byte === undefined) throw this.cutOff();
      size += (byte & 127) * 2 ** shift;
      if (byte < 128) break;
      if (shift >= 7 * (MAX_SIZE_BYTES - 1)) throw badDelta(this.#where, 'a size has more than 64 bits');
    }
    head.operation = operation;
    head.size = size;
  }

  /** From one byte of data to as many as asked for, until the next call of anything here; none for none. */
  async some(most: number): Promise<Uint8Array> {
    if (most === 0) return new Uint8Array();
    while (this.#at === this.#chunk.length) {
      if (this.#isAtEnd) throw this.cutOff();
      await this.#more();
    }
    return this.available(most);
  }

  /** The same of what is at hand, which may be nothing. */
  available(most: number): Uint8Array {
    const taken = this.#chunk.subarray(this.#at, this.#at + most);
    this.#at += taken.length;
    return taken;
  }

  cutOff(): Error {
    return badDelta(this.#where, 'the stream ends within an operation');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#source.return?.();
  }

  async #more(): Promise<void> {
    const next = await this.#source.next();
    if (next.done === true) {
      this.#isAtEnd = true;
      return;
    }
    this.#read += next.value.length;
    if (this.#read > this.#most) {
      throw badDelta(this.#where, `more than ${this.#most} bytes of operations, too many for the layer`, 'limit');
    }
    const rest = this.#chunk.subarray(this.#at);
    this.#chunk = rest.length === 0 ? next.value : Buffer.concat([rest, next.value]);
    this.#at = 0;
  }
}

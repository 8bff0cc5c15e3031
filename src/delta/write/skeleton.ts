import { Operation } from '../format.js';
import { writeVarint } from '../varint.js';
import type { SourceSpace } from './source-space.js';

/** The most that one ADD_DATA adds, in bytes: readers of other programs hold it in memory. */
const MAX_ADD = 64 * 1024 * 1024;
const CHUNK = 64 * 1024;
/** The most bytes of one operation without its data, but for OPEN, whose name is here too. */
const MAX_HEAD = 16;

/** From so many bytes on the list is long. */
const LONG = 48 * 1024 * 1024;
const NONE = -1;

/**
 * The operations of a delta without the bytes of DATA and ADD_DATA, which are read again when the delta is written. It is
 * encoded as the delta itself, so that millions of operations need some megabytes.
 */
export class Skeleton {
  readonly chunks: Buffer[] = [];
  readonly #space: SourceSpace;
  readonly #longAt: number;
  /** The bytes of the new tar that come from each source. */
  readonly given: Float64Array;
  #filled = CHUNK;
  #size = 0;
  #data = 0;
  // The source that is open, and the position in it.
  #open = NONE;
  #at = 0;
  // The operation that may become longer.
  #operation = NONE;
  #source = NONE;
  #position = 0;
  #length = 0;

  /** @param longAt - from so many bytes on, `isLong` is set */
  constructor(space: SourceSpace, longAt = LONG) {
    this.#space = space;
    this.#longAt = longAt;
    this.given = new Float64Array(space.sources.length);
  }

  /** Whether there are so many operations that no more short ones should be added: they are all in memory. */
  get isLong(): boolean {
    return this.#size > this.#longAt;
  }

  /** The size of the whole stream of operations, in bytes. Only after `finish`. */
  get streamSize(): number {
    return this.#size + this.#data;
  }

  /** The next bytes of the new tar are in the delta. */
  data(length: number): void {
    if (length === 0) return;
    if (this.#operation !== Operation.data) this.#end();
    this.#operation = Operation.data;
    this.#length += length;
  }

  /**
   * The next bytes of the new tar are those of a source.
   *
   * @param position - in the space of all sources
   */
  copy(source: number, position: number, length: number): void {
    this.#fromSource(Operation.copy, source, position, length);
  }

  /** The next bytes of the new tar are those of a source, and differences. */
  addData(source: number, position: number, length: number): void {
    this.#fromSource(Operation.addData, source, position, length);
  }

  #fromSource(operation: number, source: number, position: number, length: number): void {
    if (length === 0) return;
    this.given[source] = (this.given[source] ?? 0) + length;
    if (this.#operation !== operation || this.#source !== source || this.#position + this.#length !== position) {
      this.#end();
      this.#operation = operation;
      this.#source = source;
      this.#position = position;
    }
    this.#length += length;
  }

  /** Writes the operation that could have become longer. */
  #end(): void {
    const length = this.#length;
    if (length > 0) {
      if (this.#operation === Operation.data) {
        this.#write(Operation.data, length);
        this.#data += length;
      } else {
        this.#seek();
        this.#at = this.#position + length;
        if (this.#operation === Operation.copy) this.#write(Operation.copy, length);
        else this.#add(length);
      }
    }
    this.#operation = NONE;
    this.#length = 0;
  }

  #add(length: number): void {
    for (let left = length; left > 0; left -= MAX_ADD) this.#write(Operation.addData, Math.min(left, MAX_ADD));
    this.#data += length;
  }

  #seek(): void {
    const source = this.#space.sources[this.#source];
    if (source === undefined) throw new Error(`there is no source ${this.#source}`);
    const start = this.#space.startOf(this.#source);
    if (this.#open !== this.#source) {
      const name = Buffer.from(source.name);
      this.#write(Operation.open, name.length, name);
      this.#open = this.#source;
      this.#at = start;
    }
    if (this.#at !== this.#position) this.#write(Operation.seek, this.#position - start);
  }

  #write(operation: number, size: number, name?: Buffer): void {
    if (this.#filled + MAX_HEAD + (name?.length ?? 0) > CHUNK) {
      this.#close();
      this.chunks.push(Buffer.allocUnsafeSlow(CHUNK));
      this.#filled = 0;
    }
    const chunk = this.chunks.at(-1);
    if (chunk === undefined) throw new Error('there is no chunk');
    const start = this.#filled;
    chunk[this.#filled++] = operation;
    this.#filled += writeVarint(chunk, this.#filled, size);
    if (name !== undefined) this.#filled += name.copy(chunk, this.#filled);
    this.#size += this.#filled - start;
  }

  /** Cuts the last chunk to what it holds. */
  #close(): void {
    const last = this.chunks.pop();
    if (last !== undefined) this.chunks.push(last.subarray(0, this.#filled));
  }

  /** Ends the list. */
  finish(): void {
    this.#end();
    this.#close();
  }
}

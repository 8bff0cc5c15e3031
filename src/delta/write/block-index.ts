import type { SourceSpace } from './source-space.js';
import type { Turns } from './turns.js';

/** The size of the blocks that are looked for, in bytes. */
export const BLOCK = 32;
/** The factor of the rolling hash, an odd number. */
const FACTOR = 0x2c1b3c6d | 0;
const FACTOR_4 = power(FACTOR, 4);
/** What a byte counts once it has left the block. */
const OUT = power(FACTOR, BLOCK);
/** The entries of a bucket: they lie next to each other in memory. */
const WAYS = 4;
/** The most entries, of five bytes each: 80 MiB. */
const MAX_ENTRIES = 2 ** 24;
const BATCH = 256;
const MIX = 0x9e3779b1 | 0;
/** A source is read in parts of this size, in bytes. */
const PART = 1024 * 1024;
/** The strides between blocks, in bytes; the first whose blocks fit is taken. */
const STRIDES = [32, 64, 128];

function power(base: number, exponent: number): number {
  let product = 1;
  for (let count = 0; count < exponent; count++) product = Math.imul(product, base);
  return product;
}

/** The bytes of sources that an index holds at the largest stride. */
export const MAX_INDEXED = MAX_ENTRIES * 128;

/**
 * Where the blocks of the sources are: a table of their hashes. Each entry has the number of a block, and in the bits that
 * are left a part of its hash; a check of other bytes is beside it, since each entry that is none costs a read. Where a bucket
 * is full, a block is left out.
 */
export class BlockIndex {
  readonly stride: number;
  /** Where the block that `next` found may be in the sources. */
  readonly places: number[] = [];
  readonly #table: Int32Array;
  readonly #checks: Uint8Array;
  readonly #bucketShift: number;
  readonly #numberBits: number;
  /**
   * The hashes of a batch. Their buckets are read in a loop of its own before they are used, so that the processor fetches
   * many of them at once: the table is much larger than its caches, and this takes a third of the time.
   */
  readonly #hashes = new Int32Array(BATCH);
  /** What those reads gave, so that they are not left out. */
  warm = 0;
  // What `next` looks in: a piece, and the batch of it whose hashes are at hand.
  #piece: Uint8Array = new Uint8Array();
  #batchStart = 0;
  #batchEnd = 0;

  private constructor(space: SourceSpace) {
    this.stride = STRIDES.find((stride) => space.size / stride <= MAX_ENTRIES / 2) ?? STRIDES.at(-1) ?? BLOCK;
    const blocks = Math.ceil(space.size / this.stride);
    const entriesLog = Math.max(4, Math.min(Math.log2(MAX_ENTRIES), Math.ceil(Math.log2(blocks + 1)) + 1));
    this.#table = new Int32Array(2 ** entriesLog);
    this.#checks = new Uint8Array(2 ** entriesLog);
    this.#bucketShift = 32 - (entriesLog - Math.log2(WAYS));
    this.#numberBits = Math.ceil(Math.log2(blocks + 2));
  }

  /** Reads all sources that are at hand. */
  static async of(space: SourceSpace, turns: Turns): Promise<BlockIndex> {
    const made = new BlockIndex(space);
    const part = Buffer.allocUnsafeSlow(PART);
    for (const [index, { files }] of space.sources.entries()) {
      if (!space.isReadable(index)) continue;
      for (let at = 0; at < files.size; at += PART) {
        const piece = part.subarray(0, Math.min(PART, files.size - at));
        const position = space.startOf(index) + at;
        space.read(index, piece, position);
        made.#add(piece, position / made.stride);
        await turns.pause();
      }
    }
    return made;
  }

  #add(piece: Uint8Array, first: number): void {
    // Fields of the class are read once: these loops run for every block.
    const table = this.#table;
    const checks = this.#checks;
    const hashes = this.#hashes;
    const stride = this.stride;
    const bucketShift = this.#bucketShift;
    const numberBits = this.#numberBits;
    const blocks = Math.floor((piece.length - BLOCK) / stride) + 1;
    let warm = 0;
    for (let from = 0; from < blocks; from += BATCH) {
      const count = Math.min(BATCH, blocks - from);
      for (let next = 0; next < count; next++) {
        hashes[next] = hashBlock(piece, (from + next) * stride);
      }
      for (let next = 0; next < count; next++) warm ^= table[bucketOf(hashes[next] ?? 0, bucketShift)] ?? 0;
      for (let next = 0; next < count; next++) {
        const at = (from + next) * stride;
        // Runs of one byte are everywhere, and lead nowhere.
        if (piece[at] === piece[at + 1] && isRun(piece, at)) continue;
        const hash = hashes[next] ?? 0;
        const bucket = bucketOf(hash, bucketShift);
        for (let entry = bucket; entry < bucket + WAYS; entry++) {
          if (table[entry] !== 0) continue;
          table[entry] = (hash << numberBits) | (first + from + next + 1);
          checks[entry] = checkOf(piece, at);
          break;
        }
      }
    }
    this.warm = warm;
  }

  /** Takes a piece of the new tar, for `next`. */
  take(piece: Uint8Array): void {
    this.#piece = piece;
    this.#batchStart = 0;
    this.#batchEnd = 0;
  }

  /**
   * Looks for the next block of the piece that may be in the sources.
   *
   * @param from - where the first block begins; `places` has the positions in the sources afterwards
   * @returns where the block begins; -1 for none
   */
  next(from: number): number {
    const piece = this.#piece;
    const table = this.#table;
    const hashes = this.#hashes;
    const bits = this.#numberBits;
    const bucketShift = this.#bucketShift;
    const last = piece.length - BLOCK;
    for (let start = from; start <= last; start = this.#batchEnd) {
      if (start < this.#batchStart || start >= this.#batchEnd) this.#batch(start, Math.min(start + BATCH, last + 1));
      const first = this.#batchStart;
      for (let at = start; at < this.#batchEnd; at++) {
        const hash = hashes[at - first] ?? 0;
        const bucket = bucketOf(hash, bucketShift);
        const wanted = hash << bits;
        if (
          ((table[bucket] ?? 0) ^ wanted) >>> bits !== 0 &&
          ((table[bucket + 1] ?? 0) ^ wanted) >>> bits !== 0 &&
          ((table[bucket + 2] ?? 0) ^ wanted) >>> bits !== 0 &&
          ((table[bucket + 3] ?? 0) ^ wanted) >>> bits !== 0
        ) {
          continue;
        }
        if (this.#collect(bucket, wanted, checkOf(piece, at))) return at;
      }
    }
    return -1;
  }

  /** Hashes the blocks that begin from `start` to `end`. */
  #batch(start: number, end: number): void {
    const piece = this.#piece;
    const table = this.#table;
    const hashes = this.#hashes;
    const bucketShift = this.#bucketShift;
    const count = end - start;
    let hash = hashBlock(piece, start);
    for (let next = 0; next < count; next++) {
      hashes[next] = hash;
      hash = roll(hash, piece[start + next] ?? 0, piece[start + next + BLOCK] ?? 0);
    }
    let warm = 0;
    for (let next = 0; next < count; next++) warm ^= table[bucketOf(hashes[next] ?? 0, bucketShift)] ?? 0;
    this.warm = warm;
    this.#batchStart = start;
    this.#batchEnd = end;
  }

  #collect(bucket: number, wanted: number, check: number): boolean {
    const bits = this.#numberBits;
    this.places.length = 0;
    for (let at = bucket; at < bucket + WAYS; at++) {
      const entry = this.#table[at] ?? 0;
      if (entry === 0 || (entry ^ wanted) >>> bits !== 0 || this.#checks[at] !== check) continue;
      this.places.push(((entry & (2 ** bits - 1)) - 1) * this.stride);
    }
    return this.places.length > 0;
  }
}

/** Where the bucket of a hash begins. */
function bucketOf(hash: number, bucketShift: number): number {
  return (Math.imul(hash ^ (hash >>> 15), MIX) >>> bucketShift) * WAYS;
}

/** Bytes of a block, as a check that does not depend on its hash. */
function checkOf(piece: Uint8Array, at: number): number {
  return ((piece[at] ?? 0) + 3 * (piece[at + 9] ?? 0) + 5 * (piece[at + 18] ?? 0) + 7 * (piece[at + 27] ?? 0)) & 255;
}

function isRun(piece: Uint8Array, at: number): boolean {
  const byte = piece[at];
  for (let next = 1; next < BLOCK; next++) if (piece[at + next] !== byte) return false;
  return true;
}

/** The rolling hash of a block: the bytes are the digits of a number to the base FACTOR, modulo 2^32. */
function hashBlock(bytes: Uint8Array, at: number): number {
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  for (let next = at; next < at + BLOCK; next += 4) {
    a = (Math.imul(a, FACTOR_4) + (bytes[next] ?? 0)) | 0;
    b = (Math.imul(b, FACTOR_4) + (bytes[next + 1] ?? 0)) | 0;
    c = (Math.imul(c, FACTOR_4) + (bytes[next + 2] ?? 0)) | 0;
    d = (Math.imul(d, FACTOR_4) + (bytes[next + 3] ?? 0)) | 0;
  }
  const high = (Math.imul((Math.imul(a, FACTOR) + b) | 0, FACTOR) + c) | 0;
  return (Math.imul(high, FACTOR) + d) | 0;
}

/** The hash of the block that begins a byte later. */
function roll(hash: number, out: number, next: number): number {
  return (Math.imul(hash, FACTOR) + next - Math.imul(OUT, out)) | 0;
}

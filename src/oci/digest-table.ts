import type { Digest } from './digest.js';

const WORDS = 8;
/** Of a digest with sha256. */
const TEXT_LENGTH = 'sha256:'.length + 64;
const NONE = -1;

/**
 * Numbers digests from 0 on, in the order in which they come: 32 bytes and an entry of a hash table for each, where a text in
 * a Map takes about 150. A million of them are 50 MB.
 */
export class DigestTable {
  #words = new Uint32Array(WORDS * 1024);
  /** Numbers plus one, by a part of the digest; a digest whose slot is taken is in one of the next slots. */
  #slots = new Uint32Array(2048);
  #count = 0;
  /** Digests that are not sha256, and so have no words. */
  readonly #others = new Map<string, number>();
  readonly #texts = new Map<number, string>();
  readonly #wanted = new Uint32Array(WORDS);
  readonly #wantedBytes = new Uint8Array(this.#wanted.buffer);

  /** How many digests there are. */
  get size(): number {
    return this.#count;
  }

  /** The number of a digest, which is new when the digest is. */
  add(digest: string): number {
    if (!this.#read(digest)) {
      const known = this.#others.get(digest);
      if (known !== undefined) return known;
      const number = this.#next();
      // A part of a text would keep the whole text in memory.
      const own = Buffer.from(digest).toString();
      this.#others.set(own, number);
      this.#texts.set(number, own);
      return number;
    }
    const slot = this.#slotOf();
    const found = this.#slots[slot] ?? 0;
    if (found > 0) return found - 1;
    const number = this.#next();
    this.#words.set(this.#wanted, number * WORDS);
    this.#slots[slot] = number + 1;
    if (this.#count * 2 > this.#slots.length) this.#growSlots();
    return number;
  }

  /** The number of a digest, -1 for one that was not added. */
  find(digest: string): number {
    if (!this.#read(digest)) return this.#others.get(digest) ?? NONE;
    return (this.#slots[this.#slotOf()] ?? 0) - 1;
  }

  /** The digest with a number. */
  at(number: number): Digest {
    const text = this.#texts.get(number);
    if (text !== undefined) return text as Digest;
    if (number < 0 || number >= this.#count) throw new RangeError(`there is no digest ${number}`);
    const bytes = Buffer.from(this.#words.buffer, number * WORDS * 4, WORDS * 4);
    return `sha256:${bytes.toString('hex')}` as Digest;
  }

  /** @returns false for what is no sha256 digest in lower case */
  #read(digest: string): boolean {
    if (digest.length !== TEXT_LENGTH || !digest.startsWith('sha256:')) return false;
    const bytes = this.#wantedBytes;
    for (let at = 0; at < bytes.length; at++) {
      const high = nibble(digest.charCodeAt(7 + 2 * at));
      const low = nibble(digest.charCodeAt(8 + 2 * at));
      if (high < 0 || low < 0) return false;
      bytes[at] = high * 16 + low;
    }
    return true;
  }

  /** The slot of the wanted digest, or the free slot for it. */
  #slotOf(): number {
    const mask = this.#slots.length - 1;
    for (let slot = firstSlot(this.#wanted, 0, mask); ; slot = (slot + 1) & mask) {
      const found = this.#slots[slot] ?? 0;
      if (found === 0 || this.#isWanted(found - 1)) return slot;
    }
  }

  #isWanted(number: number): boolean {
    for (let word = 0; word < WORDS; word++) {
      if (this.#words[number * WORDS + word] !== this.#wanted[word]) return false;
    }
    return true;
  }

  #next(): number {
    const number = this.#count++;
    if (this.#count * WORDS > this.#words.length) this.#words = grown(this.#words);
    return number;
  }

  #growSlots(): void {
    const slots = new Uint32Array(this.#slots.length * 2);
    const mask = slots.length - 1;
    for (let number = 0; number < this.#count; number++) {
      if (this.#texts.has(number)) continue;
      let slot = firstSlot(this.#words, number * WORDS, mask);
      while (slots[slot] !== 0) slot = (slot + 1) & mask;
      slots[slot] = number + 1;
    }
    this.#slots = slots;
  }
}

/** A number for each row of a table, NaN where none was set. */
export class Column {
  #values = new Float64Array(1024).fill(Number.NaN);

  at(row: number): number {
    return this.#values[row] ?? Number.NaN;
  }

  has(row: number): boolean {
    return !Number.isNaN(this.at(row));
  }

  set(row: number, value: number): void {
    while (row >= this.#values.length) {
      const { length } = this.#values;
      const values = new Float64Array(length * 2).fill(Number.NaN, length);
      values.set(this.#values);
      this.#values = values;
    }
    this.#values[row] = value;
  }

  /** Adds to a number, to 0 where none was set. */
  add(row: number, value: number): void {
    this.set(row, (this.has(row) ? this.at(row) : 0) + value);
  }
}

function grown(words: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(words.length * 2);
  larger.set(words);
  return larger;
}

/** Digests are spread evenly, so that any of their bytes are as good as a hash. */
function firstSlot(words: Uint32Array, at: number, mask: number): number {
  return ((words[at] ?? 0) ^ (words[at + WORDS - 1] ?? 0)) & mask;
}

function nibble(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  return code >= 0x61 && code <= 0x66 ? code - 0x57 : NONE;
}

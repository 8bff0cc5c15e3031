/** The most paths of a table, which takes 20 MiB then. */
const MAX_PATHS = 500_000;

/** Where the headers of an entry lie; its content follows. */
export interface Headers {
  /** Where its headers begin, in the space of all sources. */
  readonly start: number;
  /** The size of its headers, in bytes. */
  readonly length: number;
}

/**
 * Headers by path. Paths are known by a hash of 53 bits, and the caller compares the bytes of headers that are found here: layers have up
 * to a million of paths, and as text they would need more memory than all else.
 */
export class PathTable {
  #keys = new Float64Array(1024);
  #starts = new Float64Array(1024);
  #lengths = new Uint32Array(1024);
  #count = 0;

  /** Adds headers, if there are none with the path and the table is not full. */
  add(path: string, { start, length }: Headers): void {
    if (this.#count === MAX_PATHS) return;
    if (2 * this.#count > this.#keys.length) this.#grow();
    const key = keyOf(path);
    const slot = this.#slot(key);
    if (this.#keys[slot] === key) return;
    this.#set(slot, key, start, length);
    this.#count++;
  }

  get(path: string): Headers | undefined {
    const key = keyOf(path);
    const slot = this.#slot(key);
    if (this.#keys[slot] !== key) return undefined;
    return { start: this.#starts[slot] ?? 0, length: this.#lengths[slot] ?? 0 };
  }

  /** The slot with a key, or the empty one for it. */
  #slot(key: number): number {
    const mask = this.#keys.length - 1;
    let slot = key & mask;
    while (this.#keys[slot] !== 0 && this.#keys[slot] !== key) slot = (slot + 1) & mask;
    return slot;
  }

  #set(slot: number, key: number, start: number, length: number): void {
    this.#keys[slot] = key;
    this.#starts[slot] = start;
    this.#lengths[slot] = length;
  }

  #grow(): void {
    const [keys, starts, lengths] = [this.#keys, this.#starts, this.#lengths];
    this.#keys = new Float64Array(2 * keys.length);
    this.#starts = new Float64Array(2 * keys.length);
    this.#lengths = new Uint32Array(2 * keys.length);
    for (const [slot, key] of keys.entries()) {
      if (key !== 0) this.#set(this.#slot(key), key, starts[slot] ?? 0, lengths[slot] ?? 0);
    }
  }
}

/** A hash of a path, which is never 0. */
function keyOf(path: string): number {
  let high = 0x811c9dc5 | 0;
  let low = 0x1b873593;
  for (let at = 0; at < path.length; at++) {
    const code = path.charCodeAt(at);
    low = Math.imul(low ^ code, 0x01000193);
    high = Math.imul(high ^ code ^ (low >>> 15), 0x85ebca6b);
  }
  return (high & 0x1fffff) * 2 ** 32 + (low >>> 0) + 1;
}

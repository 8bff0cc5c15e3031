import { isDigest } from '../../../oci/digest.js';
import { Column, DigestTable } from '../../../oci/digest-table.js';
import { blobKey, type BucketKeys, privateKeys } from './bucket-keys.js';
import type { ObjectStore, StoredObject } from './object-store.js';

/** Sizes in bytes, and dates in milliseconds since 1970, of the objects of one kind; by the rows of a table of digests. */
export class Objects {
  readonly #sizes = new Column();
  readonly #dates = new Column();
  readonly #keyOf: (row: number) => string;

  constructor(keyOf: (row: number) => string) {
    this.#keyOf = keyOf;
  }

  has(row: number): boolean {
    return this.#sizes.has(row);
  }

  set(row: number, { size, modified }: Pick<StoredObject, 'size' | 'modified'>): void {
    this.#sizes.set(row, size);
    this.#dates.set(row, modified);
  }

  sizeAt(row: number): number {
    return this.#sizes.at(row);
  }

  dateAt(row: number): number {
    return this.#dates.at(row);
  }

  at(row: number): StoredObject {
    return { key: this.#keyOf(row), size: this.#sizes.at(row), modified: this.#dates.at(row) };
  }
}

/** What a bucket has below blobs_prefix. A row is some 100 bytes, so that millions of blobs fit into the memory. */
export class Inventory {
  readonly table = new DigestTable();
  readonly blobs: Objects;
  /** The copies in quarantine. */
  readonly copies: Objects;
  /** The objects that list marked blobs. */
  readonly marks: StoredObject[] = [];
  /** What tells the time to a gc, or told it to one that was killed. */
  readonly clocks: StoredObject[] = [];
  readonly #keys: BucketKeys;

  constructor(keys: BucketKeys) {
    this.#keys = keys;
    this.blobs = new Objects((row) => blobKey(keys, this.table.at(row)));
    this.copies = new Objects((row) => `${privateKeys(keys).quarantine}${this.table.at(row)}`);
  }

  /** @throws CacheError for a listing that is not whole */
  async read(store: ObjectStore, signal: AbortSignal | undefined): Promise<void> {
    const { quarantine, marks, clock } = privateKeys(this.#keys);
    for await (const page of store.list(this.#keys.blobs, signal)) {
      for (const object of page) {
        if (object.key.startsWith(marks)) this.marks.push(object);
        else if (object.key.startsWith(clock)) this.clocks.push(object);
        else if (object.key.startsWith(quarantine)) this.#add(this.copies, object, quarantine);
        else this.#add(this.blobs, object, this.#keys.blobs);
      }
    }
  }

  #add(objects: Objects, object: StoredObject, prefix: string): void {
    const digest = object.key.slice(prefix.length);
    if (isDigest(digest)) objects.set(this.table.add(digest), object);
  }
}

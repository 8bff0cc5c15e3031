import { parallel } from '../../../bytes/parallel.js';
import { decodeCacheConfig } from '../../../buildkit/cache-config.js';
import { CacheError } from '../../../errors.js';
import { type Digest, sha256 } from '../../../oci/digest.js';
import { Column, type DigestTable } from '../../../oci/digest-table.js';
import { JSON_LIMIT } from '../../../oci/json.js';
import type { TagUsage } from '../../cache-store.js';
import { isSameObject } from './bucket-entries.js';
import type { BucketKeys } from './bucket-keys.js';
import { listNames, type NamedObject } from './bucket-listing.js';
import { CONCURRENCY } from './bucket-source.js';
import type { ObjectStore, StoredObject } from './object-store.js';

/** What a needed blob is: a layer, or something that a later BuildKit may write. */
const [LAYER, OTHER] = [2, 1];

/** A name, and the rows of the blobs that it needs. */
interface NameNeeds {
  readonly name: string;
  readonly object: StoredObject;
  readonly digest: Digest;
  readonly rows: Uint32Array;
}

interface NeededOptions {
  readonly signal: AbortSignal | undefined;
  /** Is told of a name that is no cacheconfig, or is refused; left out where such a name is an error. */
  readonly onUnread?: ((name: string, problem: CacheError) => void) | undefined;
}

/** The blobs that names need, by all readings so far: what was needed once is left alone until the next gc. */
export class NeededBlobs {
  readonly #table: DigestTable;
  readonly #needed = new Column();
  /** By the documents that were read. */
  readonly #byDocument = new Map<Digest, Uint32Array>();
  /** By the keys of the names. */
  #names: ReadonlyMap<string, NameNeeds> = new Map();
  readonly #places: readonly BucketKeys[];
  readonly #store: ObjectStore;
  readonly #signal: AbortSignal | undefined;
  readonly #onUnread: NeededOptions['onUnread'];

  /** @param table - gets the digests of the blobs */
  constructor(
    store: ObjectStore,
    table: DigestTable,
    places: readonly BucketKeys[],
    { signal, onUnread }: NeededOptions,
  ) {
    this.#store = store;
    this.#table = table;
    this.#places = places;
    this.#signal = signal;
    this.#onUnread = onUnread;
  }

  /** Whether the blob in a row of the table is needed. */
  has(row: number): boolean {
    return this.#needed.has(row);
  }

  /** Whether the blob in a row of the table is a layer of a cache. */
  isLayer(row: number): boolean {
    return this.#needed.at(row) === LAYER;
  }

  /**
   * Reads the names that were written since the last time. No document is kept.
   *
   * @throws CacheError CORRUPT for what is no cacheconfig: it is not known what that needs; for a listing that is not whole
   */
  async read(): Promise<void> {
    const names = new Map<string, NameNeeds>();
    for (const keys of this.#places) {
      for await (const page of listNames(this.#store, keys, this.#signal)) {
        const found: (NameNeeds | undefined)[] = page.map(() => undefined);
        await parallel([...page.entries()], CONCURRENCY, this.#signal, async ([index, named], inner) => {
          const known = this.#names.get(named.object.key);
          const isKnown = known !== undefined && isSameObject(known.object, named.object);
          found[index] = isKnown ? known : await this.#tryName(named, inner);
        });
        for (const needs of found) if (needs !== undefined) names.set(needs.object.key, needs);
      }
    }
    this.#names = names;
  }

  /** The objects of the names that were read. */
  objects(): StoredObject[] {
    return Array.from(this.#names.values(), ({ object }) => object);
  }

  /** What the keys of names start with in the places that have no name. */
  withoutNames(): string[] {
    const keys = [...this.#names.keys()];
    return this.#places.flatMap(({ manifests }) => (keys.some((key) => key.startsWith(manifests)) ? [] : manifests));
  }

  async #tryName(named: NamedObject, signal: AbortSignal): Promise<NameNeeds | undefined> {
    try {
      return await this.#readName(named, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (this.#onUnread === undefined || !(error instanceof CacheError) || error.code === 'UNREACHABLE') throw error;
      this.#onUnread(named.name, error);
      return undefined;
    }
  }

  /** @returns undefined for a name that was removed after the listing */
  async #readName({ name, object }: NamedObject, signal: AbortSignal): Promise<NameNeeds | undefined> {
    const answer = await this.#store.read(object.key, JSON_LIMIT, signal);
    if (answer.state === 'unknown') throw answer.problem;
    if (answer.state === 'missing') return undefined;
    const digest = sha256(answer.value);
    const rows = this.#byDocument.get(digest) ?? this.#rowsOf(answer.value, this.#store.nameOf(object.key));
    this.#byDocument.set(digest, rows);
    return { name, object, digest, rows };
  }

  #rowsOf(bytes: Buffer, where: string): Uint32Array {
    const { layers, records } = decodeCacheConfig(bytes, where);
    const blobs = new Set<string>(layers.map(({ blob }) => blob));
    // Digests that are none of blobs.
    const others = new Set<string>();
    for (const { annotations } of layers) if (annotations !== undefined) others.add(annotations.diffID);
    for (const { digest, inputs } of records) {
      others.add(digest);
      for (const { selector } of inputs.flat()) others.add(selector);
    }
    const found = new Set<string>();
    // More than its layers: what a later BuildKit writes in fields that are not known yet is needed, too.
    for (const [text] of bytes.toString('latin1').matchAll(/\bsha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})\b/g)) {
      if (!others.has(text) && !blobs.has(text)) found.add(text);
    }
    const rows = Uint32Array.from([...blobs, ...found], (blob) => this.#table.add(blob));
    for (const [index, row] of rows.entries()) {
      if (index < blobs.size) this.#needed.set(row, LAYER);
      else if (!this.has(row)) this.#needed.set(row, OTHER);
    }
    return rows;
  }

  /**
   * What each name needs.
   *
   * @param sizeAt - the size of the blob in a row, in bytes; NaN for a blob that is missing
   */
  usage(sizeAt: (row: number) => number): TagUsage[] {
    const users = new Column();
    for (const { rows } of this.#names.values()) for (const row of rows) users.add(row, 1);
    return Array.from(this.#names.values(), ({ name, digest, rows }) => {
      let [total, exclusive] = [0, 0];
      for (const row of rows) {
        const size = sizeAt(row);
        if (Number.isNaN(size)) continue;
        total += size;
        if (users.at(row) === 1) exclusive += size;
      }
      return { tag: name, digest, total, shared: total - exclusive, exclusive };
    });
  }

  /** @throws CacheError CORRUPT where there is no name at all: perhaps the prefixes are wrong */
  refuseNone(): void {
    if (this.#names.size > 0) return;
    throw new CacheError('CORRUPT', `${this.#store.name}: nothing was deleted, since no name is there`, {
      hint: 'check prefix= and manifests_prefix=; --force frees the blobs of a bucket whose last cache is gone',
    });
  }
}

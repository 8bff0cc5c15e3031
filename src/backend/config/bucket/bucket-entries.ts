import { parallel } from '../../../bytes/parallel.js';
import { CacheError } from '../../../errors.js';
import type { Content } from '../../../oci/content.js';
import type { Digest } from '../../../oci/digest.js';
import { type Document, documentOf } from '../../../oci/document.js';
import { JSON_LIMIT } from '../../../oci/json.js';
import { CACHE_CONFIG } from '../../../oci/media-types.js';
import type { StoreEntry, UnreadEntry } from '../../cache-store.js';
import type { BucketKeys } from './bucket-keys.js';
import { listNames, type NamedObject } from './bucket-listing.js';
import { CONCURRENCY } from './bucket-source.js';
import { DocumentSpool } from '../document-spool.js';
import type { ObjectStore, StoredObject } from './object-store.js';

/** What a name in a bucket stood for when it was read. */
interface KnownEntry {
  readonly object: StoredObject;
  readonly entry: StoreEntry;
}

/** The names in a bucket and their documents, which are kept: a document is read again only after it was written again. */
export class BucketEntries implements AsyncDisposable {
  readonly #store: ObjectStore;
  readonly #keys: BucketKeys;
  readonly #spool = new DocumentSpool();
  #known: ReadonlyMap<string, KnownEntry> = new Map();

  constructor(store: ObjectStore, keys: BucketKeys) {
    this.#store = store;
    this.#keys = keys;
  }

  /** The bytes of a document that an entry names; undefined for one that no entry has named. */
  document(digest: Digest): Content | undefined {
    return this.#spool.get(digest);
  }

  /** @throws CacheError for a listing that is not whole, and for a service that does not answer */
  async list(signal: AbortSignal | undefined): Promise<readonly (StoreEntry | UnreadEntry)[]> {
    const named: NamedObject[] = [];
    for await (const page of listNames(this.#store, this.#keys, signal)) named.push(...page);
    const known = new Map<string, KnownEntry>();
    const rows: (StoreEntry | UnreadEntry)[][] = [];
    await parallel([...named.entries()], CONCURRENCY, signal, async ([index, one], inner) => {
      const entry = await this.#read(one, inner);
      rows[index] = entry === undefined ? [] : [entry];
      if (entry !== undefined && 'descriptor' in entry) known.set(one.object.key, { object: one.object, entry });
    });
    this.#known = known;
    return rows.flat();
  }

  /** Keeps a document that was read without a listing. */
  async keep(name: string, document: Document, signal: AbortSignal | undefined): Promise<StoreEntry> {
    await this.#spool.add(document, signal);
    return { names: [name], descriptor: document.descriptor, isBare: true };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#spool[Symbol.asyncDispose]();
  }

  /** @returns undefined for a name that was removed after the listing */
  async #read({ name, object }: NamedObject, signal: AbortSignal): Promise<StoreEntry | UnreadEntry | undefined> {
    const known = this.#known.get(object.key);
    if (known !== undefined && isSameObject(known.object, object)) return known.entry;
    try {
      const answer = await this.#store.read(object.key, JSON_LIMIT, signal);
      if (answer.state === 'missing') return undefined;
      if (answer.state === 'unknown') return { names: [name], problem: answer.problem };
      const entry = await this.keep(name, documentOf(CACHE_CONFIG, answer.value), signal);
      return { ...entry, modified: object.modified };
    } catch (error) {
      signal.throwIfAborted();
      // One object that is no cache, or that the service refuses, says nothing of the others.
      if (!(error instanceof CacheError) || error.code === 'UNREACHABLE') throw error;
      return { names: [name], problem: error };
    }
  }
}

/** Whether an object has not been written since. A date alone does not say it: services count in seconds. */
export function isSameObject(a: StoredObject, b: StoredObject): boolean {
  return a.etag !== undefined && a.etag === b.etag && a.size === b.size && a.modified === b.modified;
}

import { decodeCacheConfig } from '../../../buildkit/cache-config.js';
import { CacheError } from '../../../errors.js';
import { readDocument } from '../../../oci/content.js';
import type { Digest } from '../../../oci/digest.js';
import { JSON_LIMIT } from '../../../oci/json.js';
import { allRead, type StoreEntry, type TagUsage } from '../../cache-store.js';
import { BucketEntries } from './bucket-entries.js';
import type { BucketKeys } from './bucket-keys.js';
import type { ObjectStore } from './object-store.js';

/** The blobs that names need, by all readings so far: what was needed once is left alone until the next gc. */
export class NeededBlobs implements AsyncDisposable {
  readonly #digests = new Map<string, string>();
  /** By the documents that were read. */
  readonly #byDocument = new Map<Digest, readonly string[]>();
  #entries: readonly StoreEntry[] = [];
  readonly #places: readonly BucketEntries[];
  readonly #store: ObjectStore;
  readonly #signal: AbortSignal | undefined;

  constructor(store: ObjectStore, keys: BucketKeys, prefixes: readonly string[], signal: AbortSignal | undefined) {
    this.#store = store;
    this.#places = prefixes.map((prefix) => new BucketEntries(store, { ...keys, manifests: prefix }));
    this.#signal = signal;
  }

  has(digest: Digest): boolean {
    return this.#digests.has(digest);
  }

  /** Reads the names that were written since the last time. */
  async read(): Promise<void> {
    const entries: StoreEntry[] = [];
    for (const place of this.#places) {
      for (const entry of allRead(await place.list(this.#signal))) {
        entries.push(entry);
        const { digest } = entry.descriptor;
        if (!this.#byDocument.has(digest)) this.#byDocument.set(digest, await this.#digestsIn(place, entry));
      }
    }
    this.#entries = entries;
    if (entries.length > 0) return;
    throw new CacheError('CORRUPT', `${this.#store.name}: nothing was deleted, since no name is there`, {
      hint: 'check prefix= and manifests_prefix=; a bucket without any cache is emptied with the tools of the service',
    });
  }

  /** @throws CacheError CORRUPT for what is no cacheconfig: it is not known what that needs */
  async #digestsIn(place: BucketEntries, { names: [name], descriptor: { digest } }: StoreEntry): Promise<string[]> {
    const where = `${this.#store.name}: ${name ?? digest}`;
    const content = place.document(digest);
    if (content === undefined) throw new CacheError('CORRUPT', `${where} cannot be read`);
    const bytes = await readDocument(content, digest, where, { limit: JSON_LIMIT, signal: this.#signal });
    const layers = decodeCacheConfig(bytes, where).layers.map(({ blob }) => blob);
    // More than its layers: the digests of its records do no harm.
    const others = bytes.toString('latin1').match(/\bsha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})\b/g) ?? [];
    return [...new Set([...layers, ...others])].map((text) => this.#kept(text));
  }

  /** Each digest once. A part of a text would keep the whole text in memory. */
  #kept(text: string): string {
    const known = this.#digests.get(text) ?? Buffer.from(text).toString();
    this.#digests.set(known, known);
    return known;
  }

  /**
   * What each name needs.
   *
   * @param sizes - of the blobs that are there, in bytes
   */
  usage(sizes: ReadonlyMap<string, number>): TagUsage[] {
    const needs = this.#entries.map(({ descriptor }) => new Set(this.#byDocument.get(descriptor.digest)));
    const users = new Map<string, number>();
    for (const some of needs) for (const blob of some) users.set(blob, (users.get(blob) ?? 0) + 1);
    return this.#entries.map(({ names: [tag], descriptor: { digest } }, index) => {
      let [total, exclusive] = [0, 0];
      for (const blob of needs[index] ?? []) {
        const size = sizes.get(blob) ?? 0;
        total += size;
        if (users.get(blob) === 1) exclusive += size;
      }
      return { tag, digest, total, shared: total - exclusive, exclusive };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const place of this.#places) await place[Symbol.asyncDispose]();
  }
}

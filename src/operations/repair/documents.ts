import type { CacheStore, StoreRepair } from '../../backend/cache-store.js';
import { readDocument } from '../../oci/content.js';
import type { BlobId, Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { JSON_LIMIT } from '../../oci/json.js';
import type { Copies, Found } from './copies.js';

/**
 * The manifests and configs of a place as they are to be: those that are missing or damaged come from the sources, and
 * are kept in memory until all is known. A dry run sees the same as a real one so.
 */
export class Documents {
  readonly #store: CacheStore;
  readonly #repair: StoreRepair;
  readonly #copies: Copies;
  readonly #signal: AbortSignal | undefined;
  readonly #restored = new Map<Digest, Found<Buffer> | undefined>();

  constructor(store: CacheStore, repair: StoreRepair, copies: Copies, signal: AbortSignal | undefined) {
    this.#store = store;
    this.#repair = repair;
    this.#copies = copies;
    this.#signal = signal;
  }

  /** Where they are, for messages. */
  get name(): string {
    return this.#store.name;
  }

  /** The bytes of a copy of a document that cannot be read here. */
  async restore(descriptor: Descriptor, required: boolean): Promise<Buffer | undefined> {
    const { digest, size } = descriptor;
    if (!this.#restored.has(digest)) {
      const isSparse = !required && !(await this.#repair.has(digest));
      // What is too large to be read is fetched as layers are.
      if (isSparse || size > JSON_LIMIT) return undefined;
      const limits = { limit: JSON_LIMIT, signal: this.#signal };
      const found = await this.#copies.first(descriptor, (content, from) =>
        readDocument(content, digest, from, limits),
      );
      this.#restored.set(digest, found);
    }
    return this.restored(digest)?.value;
  }

  /** What came from a source. */
  restored(digest: Digest): Found<Buffer> | undefined {
    return this.#restored.get(digest);
  }

  /** @throws CacheError CORRUPT when no place has the document, FAILED when it is too large */
  async read(document: BlobId): Promise<Buffer> {
    const { digest } = document;
    const limits = { limit: JSON_LIMIT, signal: this.#signal };
    return this.restored(digest)?.value ?? readDocument(this.#store.blob(document), digest, this.name, limits);
  }

  /** The document of an entry that is a cacheconfig without a manifest. @throws as `read` */
  readBare(entry: Descriptor): Promise<Buffer> {
    const limits = { limit: JSON_LIMIT, signal: this.#signal };
    return readDocument(this.#store.manifest(entry), entry.digest, this.name, limits);
  }
}

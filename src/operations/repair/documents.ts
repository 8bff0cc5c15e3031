import { exists } from '../../layout/files/durable.js';
import type { Layout } from '../../layout/layout.js';
import { readDocument } from '../../oci/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { JSON_LIMIT } from '../../oci/json.js';
import type { Copies, Found } from './copies.js';

/**
 * The manifests and configs of a folder as they are to be: those that are missing or damaged come from the sources, and
 * are kept in memory until all is known. A dry run sees the same as a real one so.
 */
export class Documents {
  readonly #layout: Layout;
  readonly #copies: Copies;
  readonly #signal: AbortSignal | undefined;
  readonly #restored = new Map<Digest, Found<Buffer> | undefined>();

  constructor(layout: Layout, copies: Copies, signal: AbortSignal | undefined) {
    this.#layout = layout;
    this.#copies = copies;
    this.#signal = signal;
  }

  /** Where they are, for messages. */
  get name(): string {
    return this.#layout.root;
  }

  /** The bytes that a document that cannot be read here has elsewhere. */
  async restore(descriptor: Descriptor, required: boolean): Promise<Buffer | undefined> {
    const { digest, size } = descriptor;
    if (!this.#restored.has(digest)) {
      const { blobs } = this.#layout;
      const isSparse = !required && !(await exists(blobs.path(digest)));
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

  /** @throws CacheError CORRUPT when it can be had nowhere, FAILED when it is too large */
  async read(digest: Digest): Promise<Buffer> {
    const { blobs, root } = this.#layout;
    const limits = { limit: JSON_LIMIT, signal: this.#signal };
    return this.restored(digest)?.value ?? readDocument(blobs.content(digest), digest, root, limits);
  }
}

import { CacheError } from '../../errors.js';
import type { Layout } from '../../layout/layout.js';
import { readDocument } from '../../oci/content.js';
import type { Digest } from '../../oci/digest.js';
import { decodeManifest, type Manifest } from '../../oci/manifest.js';
import { isNonDistributable } from '../../oci/media-types.js';
import { MANIFEST_LIMIT } from '../registry/manifests.js';

/** How many digests are remembered, in all sets together: some 50 MB. */
const LIMIT = 500_000;

/**
 * What a manifest gives access to: itself, its config and layers; of an index, its manifests and what these give access
 * to. That is less than gc keeps: a subject, and digests in other fields, may be written down by anybody who knows them.
 * So are layers that are not distributed: no push shows that its client has them.
 *
 * Manifests never change, and so it is remembered.
 */
export class Contents {
  readonly #layout: Layout;
  readonly #known = new Map<Digest, ReadonlySet<Digest>>();
  #size = 0;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** Of a blob that is no manifest, the blob alone; of a missing one, nothing. */
  async of(digest: Digest): Promise<ReadonlySet<Digest>> {
    const known = this.#known.get(digest);
    if (known !== undefined) {
      // The least recently used are first.
      this.#known.delete(digest);
      this.#known.set(digest, known);
      return known;
    }
    const found = new Set<Digest>();
    const read = new Set<Digest>();
    let isWhole = true;
    const open = [digest];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (read.has(next)) continue;
      read.add(next);
      const manifest = await this.#read(next);
      if (manifest === 'missing') {
        isWhole = false;
        continue;
      }
      found.add(next);
      for (const leaf of leavesOf(manifest)) found.add(leaf);
      if (manifest?.kind === 'index') for (const child of manifest.manifests) open.push(child.digest);
    }
    if (isWhole) this.#remember(digest, found);
    return found;
  }

  async #read(digest: Digest): Promise<Manifest | 'missing' | undefined> {
    const size = await this.#layout.blobs.size(digest);
    if (size === undefined) return 'missing';
    if (size > MANIFEST_LIMIT) return undefined;
    try {
      const content = this.#layout.blobs.content(digest);
      const bytes = await readDocument(content, digest, this.#layout.root, { limit: MANIFEST_LIMIT });
      return decodeManifest(bytes, digest);
    } catch (error) {
      // A layer in a cache of the index shape; or damaged.
      if (error instanceof CacheError) return undefined;
      throw error;
    }
  }

  #remember(digest: Digest, found: ReadonlySet<Digest>): void {
    if (this.#known.has(digest)) return;
    this.#known.set(digest, found);
    this.#size += found.size;
    for (const [oldest, set] of this.#known) {
      if (this.#size <= LIMIT || oldest === digest) return;
      this.#known.delete(oldest);
      this.#size -= set.size;
    }
  }
}

function leavesOf(manifest: Manifest | undefined): readonly Digest[] {
  if (manifest?.kind !== 'manifest') return [];
  const layers = manifest.layers.filter(({ mediaType }) => !isNonDistributable(mediaType));
  return [manifest.config, ...layers].map(({ digest }) => digest);
}

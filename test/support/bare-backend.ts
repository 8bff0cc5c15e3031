import type { Backend, CacheSource, CacheTarget, Location } from '../../src/backend/backend.js';
import type { CacheStore } from '../../src/backend/cache-store.js';
import { loadBareCache } from '../../src/backend/load-entry.js';
import { collect } from '../../src/bytes/collect.js';
import { CacheError } from '../../src/errors.js';
import { saveAs } from '../../src/graph/save.js';
import { verified } from '../../src/oci/content.js';
import type { Descriptor } from '../../src/oci/descriptor.js';
import { sha256 } from '../../src/oci/digest.js';
import { topOf } from '../../src/oci/document.js';
import { type MemoryPlace, memoryStore } from './memory-store.js';

/** A backend in memory whose caches are cacheconfigs under names, as in buckets: `container=` and `name=`. */
export class BareBackend implements Backend {
  readonly buckets = new Map<string, MemoryPlace>();

  locate(options: Location['options']): Promise<Location> {
    const { container: bucket = '', name: selection = 'latest' } = options.attributes;
    return Promise.resolve({ options, name: bucket, selection, key: `${bucket}, name ${selection}` });
  }

  store({ name }: Location): Promise<CacheStore> {
    return Promise.resolve(memoryStore(name, this.#bucket(name)));
  }

  async source({ name, selection }: Location): Promise<CacheSource> {
    const resolve = async (): Promise<Descriptor> => {
      const found = this.#bucket(name).names.get(selection);
      if (found === undefined) throw new CacheError('NOT_FOUND', `${name} has no name ${selection}`);
      return Promise.resolve(found);
    };
    const load = async () => loadBareCache(memoryStore(name, this.#bucket(name)), await resolve());
    return Promise.resolve({ name, resolve, load });
  }

  target({ name, selection }: Location): Promise<CacheTarget> {
    const { blobs, documents, names } = this.#bucket(name);
    return Promise.resolve({
      name,
      present: (list) => Promise.resolve(new Set(list.flatMap(({ digest }) => (blobs.has(digest) ? digest : [])))),
      async write(content, expected) {
        const opened = content.open();
        const bytes = await collect(expected === undefined ? opened : verified(opened, expected, name));
        const blob = { digest: sha256(bytes), size: bytes.length };
        blobs.set(blob.digest, bytes);
        return blob;
      },
      publish({ graph, saved, shape }) {
        const { descriptor, bytes } = topOf((saved ?? saveAs({ shape }, graph)).documents);
        documents.set(descriptor.digest, Buffer.from(bytes));
        names.set(selection, descriptor);
        return Promise.resolve(descriptor);
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    });
  }

  #bucket(name: string): MemoryPlace {
    const known = this.buckets.get(name);
    if (known !== undefined) return known;
    const bucket = { blobs: new Map(), documents: new Map(), names: new Map(), isBare: true };
    this.buckets.set(name, bucket);
    return bucket;
  }
}

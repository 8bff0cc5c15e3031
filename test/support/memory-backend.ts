import type { Backend, Location } from '../../src/backend/backend.js';
import type { CacheStore } from '../../src/backend/cache-store.js';
import type { Reference, Repository } from '../../src/backend/repository/repository.js';
import { repositorySource } from '../../src/backend/repository/repository-source.js';
import { repositoryTarget } from '../../src/backend/repository/repository-target.js';
import { collect } from '../../src/bytes/collect.js';
import { CacheError } from '../../src/errors.js';
import { type Content, contentOf, verified } from '../../src/oci/content.js';
import { type BlobId, type Descriptor } from '../../src/oci/descriptor.js';
import { type Digest, sha256 } from '../../src/oci/digest.js';
import { decodeManifest } from '../../src/oci/manifest.js';
import { memoryStore } from './memory-store.js';

/** What a bucket of the tests has. */
export interface MemoryBucket {
  readonly blobs: Map<Digest, Buffer>;
  readonly tags: Map<string, Descriptor>;
}

/**
 * A backend in memory, for a type whose strings have `bucket=` and `name=`, as those of s3 do. All of it is here: what it
 * needs of src/ are the interfaces, and what any repository of manifests shares.
 */
export class MemoryBackend implements Backend {
  readonly buckets = new Map<string, MemoryBucket>();

  locate(options: Location['options']): Promise<Location> {
    const { bucket = '', name: selection = 'latest' } = options.attributes;
    return Promise.resolve({ options, name: bucket, selection, key: `${bucket}, name ${selection}` });
  }

  source({ name, selection }: Location, session: Parameters<Required<Backend>['source']>[1]) {
    const open = () => Promise.resolve(this.#existing(name));
    return Promise.resolve(repositorySource(name, open, { tag: selection }, session));
  }

  target({ name, selection }: Location, _: unknown, settings: Parameters<Required<Backend>['target']>[2]) {
    if (!this.buckets.has(name)) this.buckets.set(name, { blobs: new Map(), tags: new Map() });
    return Promise.resolve(repositoryTarget(this.#existing(name), selection, settings));
  }

  store({ name }: Location): Promise<CacheStore> {
    const { blobs, tags } = this.#bucket(name);
    return Promise.resolve(memoryStore(name, { blobs, documents: blobs, names: tags, isBare: false }));
  }

  /** @throws CacheError NOT_FOUND */
  #existing(name: string): Repository {
    return memoryRepository(name, this.#bucket(name));
  }

  #bucket(name: string): MemoryBucket {
    const bucket = this.buckets.get(name);
    if (bucket === undefined) throw new CacheError('NOT_FOUND', `there is no bucket ${name}`);
    return bucket;
  }
}

function memoryRepository(name: string, { blobs, tags }: MemoryBucket): Repository {
  const blob = ({ digest }: BlobId): Content => {
    const bytes = blobs.get(digest);
    if (bytes !== undefined) return contentOf(bytes);
    return {
      open() {
        throw new CacheError('CORRUPT', `${name}: blob ${digest} is missing`, { wrong: 'missing' });
      },
    };
  };
  return {
    name,
    async resolve(reference: Reference) {
      if ('tag' in reference) {
        const found = tags.get(reference.tag);
        if (found !== undefined) return Promise.resolve(found);
        throw new CacheError('NOT_FOUND', `${name} has no tag ${reference.tag}`);
      }
      const { digest } = reference;
      const bytes = blobs.get(digest);
      if (bytes === undefined) throw new CacheError('NOT_FOUND', `${name} has no manifest ${digest}`);
      return Promise.resolve({ mediaType: decodeManifest(bytes, name).mediaType, digest, size: bytes.length });
    },
    entries: () => Promise.resolve(Array.from(tags, ([tag, descriptor]) => ({ tag, descriptor }))),
    manifest: blob,
    blob,
    present: (list) => Promise.resolve(new Set(list.map(({ digest }) => digest).filter((digest) => blobs.has(digest)))),
    async write(content, expected) {
      const opened = content.open();
      const bytes = await collect(expected === undefined ? opened : verified(opened, expected, name));
      const written = { digest: sha256(bytes), size: bytes.length };
      blobs.set(written.digest, bytes);
      return written;
    },
    publish({ descriptor, bytes }, tag) {
      blobs.set(descriptor.digest, Buffer.from(bytes));
      if (tag !== undefined) tags.set(tag, descriptor);
      return Promise.resolve();
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

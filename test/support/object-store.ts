import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Answer, ObjectStore, StoredObject } from '../../src/backend/config/bucket/object-store.js';
import { countedStore } from '../../src/backend/config/bucket/counted-store.js';
import type { ObjectCleaning, OpenUpload } from '../../src/backend/config/bucket/object-cleaning.js';
import { wholeListing } from '../../src/backend/config/bucket/listing.js';
import { collect } from '../../src/bytes/collect.js';
import { sha256 } from '../../src/oci/digest.js';
import { CacheError } from '../../src/errors.js';

interface MemoryObject {
  readonly bytes: Buffer;
  readonly modified: number;
  readonly etag: string;
}

/** Objects in memory, and what was asked of them. */
export class MemoryStore implements ObjectStore {
  readonly name = 'memory://bucket';
  readonly objects = new Map<string, MemoryObject>();
  /** The requests, such as `put blobs/sha256:…`. */
  readonly requests: string[] = [];
  /** What credentials without the right to list a bucket are told of an object that is missing. */
  mayList = true;
  /** Whether a touch changes the date of an object. */
  touches = true;
  pageSize = 1000;
  /** Whether an object is deleted on the condition that it has not changed. */
  knowsConditions = false;
  /** Keys of objects that the service does not delete. */
  readonly locked = new Set<string>();
  openUploads: OpenUpload[] = [];
  retention: readonly string[] = [];
  /** Keys that a listing does not show, since it lags behind. */
  readonly unlisted = new Set<string>();
  /** Keys of which the service does not say whether there is an object. */
  readonly refused = new Set<string>();
  /** The prefix whose listing ends after its first page, although there is more. */
  cutListing: string | undefined;

  /** The objects of a folder: the path below the folder is the key. */
  static of(folder: string): MemoryStore {
    const store = new MemoryStore();
    for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      store.set(path.slice(folder.length + 1), readFileSync(path));
    }
    return store;
  }

  set(key: string, bytes: Uint8Array, modified = Date.now()): void {
    this.objects.set(key, { bytes: Buffer.from(bytes), modified, etag: sha256(bytes) });
  }

  nameOf(key: string): string {
    return `${this.name}/${key}`;
  }

  content(key: string, size: number) {
    const { objects, requests } = this;
    return {
      size,
      async *open({ start = 0, end = Infinity }: { readonly start?: number; readonly end?: number } = {}) {
        requests.push(`get ${key}`);
        const found = objects.get(key);
        if (found === undefined) throw new CacheError('CORRUPT', `${key} is missing`, { wrong: 'missing' });
        yield found.bytes.subarray(start, end);
      },
    };
  }

  async read(key: string): Promise<Answer<Buffer>> {
    this.asked(`get ${key}`);
    const found = this.refused.has(key) ? undefined : this.objects.get(key);
    return found === undefined ? this.#missing(key) : { state: 'there', value: found.bytes };
  }

  async head(key: string): Promise<Answer<StoredObject>> {
    this.asked(`head ${key}`);
    const found = this.refused.has(key) ? undefined : this.objects.get(key);
    if (found === undefined) return this.#missing(key);
    return { state: 'there', value: objectOf(key, found) };
  }

  list(prefix: string) {
    let keys: readonly string[] | undefined;
    return wholeListing(this.name, (token = '0') => {
      this.asked(`list ${prefix}`);
      if (!this.mayList) throw new CacheError('DENIED', 'no right to list');
      keys ??= [...this.objects.keys()]
        .filter((key) => key.startsWith(prefix) && !this.unlisted.has(key))
        .toSorted((a, b) => (a < b ? -1 : 1));
      const next = Number(token) + this.pageSize;
      const objects = keys.slice(Number(token), next).flatMap((key) => {
        const found = this.objects.get(key);
        return found === undefined ? [] : [objectOf(key, found)];
      });
      const following = this.cutListing === prefix ? undefined : `${next}`;
      return Promise.resolve({ objects, isTruncated: next < keys.length, token: following });
    });
  }

  async put(key: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
    this.asked(`put ${key}`);
    this.set(key, await collect(bytes));
  }

  /** Called before a request is answered. */
  asked(request: string): void {
    this.requests.push(request);
  }

  async touch({ key }: StoredObject): Promise<boolean> {
    this.asked(`touch ${key}`);
    const found = this.objects.get(key);
    if (found === undefined || !this.touches) return false;
    this.set(key, found.bytes);
    return true;
  }

  async copy({ key }: StoredObject, to: string): Promise<boolean> {
    this.asked(`copy ${key}`);
    const found = this.objects.get(key);
    if (found !== undefined) this.set(to, found.bytes);
    return found !== undefined;
  }

  async remove(key: string): Promise<void> {
    this.asked(`delete ${key}`);
    this.objects.delete(key);
  }

  readonly cleaning: ObjectCleaning = {
    removeUnchanged: async ({ key, modified }) => {
      this.asked(`delete ${key}`);
      const found = this.objects.get(key);
      if (this.knowsConditions && found !== undefined && found.modified !== modified) return false;
      this.objects.delete(key);
      return true;
    },
    removeAll: async (keys) => {
      this.asked(`delete ${keys.length} objects`);
      const refused = keys.filter((key) => this.locked.has(key));
      for (const key of keys) if (!this.locked.has(key)) this.objects.delete(key);
      return refused.map((key) => ({ key, reason: 'AccessDenied: it is locked' }));
    },
    refresh: (object) => this.touch(object),
    uploads: (prefix) => pageOf(this.openUploads.filter(({ key }) => key.startsWith(prefix))),
    abort: async ({ id }) => {
      this.asked(`abort ${id}`);
      this.openUploads = this.openUploads.filter((upload) => upload.id !== id);
    },
    retention: () => Promise.resolve(this.retention),
  };

  #missing(key: string): Answer<never> {
    if (this.mayList && !this.refused.has(key)) return { state: 'missing' };
    return { state: 'unknown', problem: new CacheError('DENIED', `${key}: 403`) };
  }
}

async function* pageOf<T>(items: readonly T[]): AsyncGenerator<readonly T[], void, undefined> {
  yield Promise.resolve(items);
}

/** A bucket as BuildKit uses Azure's: exports touch nothing. */
export function untouched(store: MemoryStore): ObjectStore {
  const bucket: { -readonly [Member in keyof ObjectStore]: ObjectStore[Member] } = countedStore(store);
  delete bucket.touch;
  return bucket;
}

function objectOf(key: string, { bytes, modified, etag }: MemoryObject): StoredObject {
  return { key, size: bytes.length, modified, etag };
}

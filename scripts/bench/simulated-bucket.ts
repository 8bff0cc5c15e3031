import { createHash } from 'node:crypto';
import type { ObjectStore, StoredObject } from '../../src/backend/config/bucket/object-store.js';
import { wholeListing } from '../../src/backend/config/bucket/listing.js';
import { CacheError } from '../../src/errors.js';

const HASH = 32;
const PAGE = 1000;
const HOUR = 3_600_000;
const BLOB_SIZE = 1_000_000;
/** Of ten blobs one is garbage. */
const TENTH = 10;

export interface BucketSize {
  readonly blobs: number;
  readonly manifests: number;
  /** Layers of each manifest. */
  readonly layers: number;
}

/**
 * A bucket that is computed rather than stored, so that the memory of the process is that of bkcache: 32 bytes for each blob.
 * Each layer is in two or three manifests.
 */
export class SimulatedBucket implements ObjectStore {
  readonly name = 's3://simulated';
  readonly #size: BucketSize;
  /** The hashes of all blobs, in their order. */
  readonly #hashes: Buffer;
  readonly #gone: Uint8Array;
  readonly #small = new Map<string, StoredObject>();
  readonly #start = Date.now();

  constructor(size: BucketSize) {
    this.#size = size;
    this.#hashes = Buffer.alloc(size.blobs * HASH);
    // Evenly spread, and so in order from the start.
    for (let index = 0; index < size.blobs; index++) {
      this.#hashes.set(createHash('sha256').update(`${index}`).digest(), index * HASH);
      this.#hashes.writeUInt32BE(Math.floor((index / size.blobs) * 2 ** 32), index * HASH);
    }
    this.#gone = new Uint8Array(size.blobs);
  }

  nameOf(key: string): string {
    return `${this.name}/${key}`;
  }

  content(key: string, size: number) {
    return {
      size,
      open() {
        throw new CacheError('FAILED', `${key} is not to be read`);
      },
    };
  }

  async read(key: string) {
    const bytes = this.#manifest(Number(key.slice('manifests/'.length)));
    return { state: 'there', value: bytes } as const;
  }

  async head(key: string) {
    const value = this.#small.get(key) ?? this.#blobAt(this.#find(key));
    return value === undefined ? ({ state: 'missing' } as const) : ({ state: 'there', value } as const);
  }

  list(prefix: string) {
    const isBlobs = prefix === 'blobs/';
    const count = isBlobs ? this.#size.blobs : this.#size.manifests;
    const objectAt = (index: number) => (isBlobs ? this.#blobAt(index) : this.#manifestAt(index));
    return wholeListing(this.name, async (token = '0') => {
      const start = Number(token);
      const indexes = Array.from({ length: Math.min(PAGE, count - start) }, (_, index) => start + index);
      const objects = indexes.map(objectAt).filter((object) => object !== undefined);
      return { objects, isTruncated: start + PAGE < count, token: `${start + PAGE}` };
    });
  }

  async put(key: string): Promise<void> {
    this.#small.set(key, { key, size: 0, modified: Date.now() });
  }

  async touch(): Promise<boolean> {
    return true;
  }

  async copy(): Promise<boolean> {
    return true;
  }

  async remove(key: string): Promise<void> {
    if (!this.#small.delete(key)) this.#gone[this.#find(key)] = 1;
  }

  readonly cleaning: ObjectStore['cleaning'] = {
    removeUnchanged: async ({ key }) => {
      await this.remove(key);
      return true;
    },
    removeAll: async (keys) => {
      for (const key of keys) await this.remove(key);
      return [];
    },
    refresh: () => Promise.resolve(true),
    retention: () => Promise.resolve([]),
  };

  #blobAt(index: number): StoredObject | undefined {
    if (index < 0 || this.#gone[index] === 1) return undefined;
    const age = index % TENTH === TENTH - 1 ? 100 * HOUR : HOUR;
    return { key: `blobs/sha256:${this.#hex(index)}`, size: BLOB_SIZE, modified: this.#start - age, etag: 'x' };
  }

  #manifestAt(index: number): StoredObject {
    const key = `manifests/${`${index}`.padStart(9, '0')}`;
    return { key, size: 1, modified: this.#start - HOUR, etag: 'x' };
  }

  #hex(index: number): string {
    return this.#hashes.toString('hex', index * HASH, (index + 1) * HASH);
  }

  #find(key: string): number {
    const wanted = Buffer.from(key.slice('blobs/sha256:'.length), 'hex');
    let [low, high] = [0, this.#size.blobs];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#hashes.compare(wanted, 0, HASH, middle * HASH, (middle + 1) * HASH) < 0) low = middle + 1;
      else high = middle;
    }
    return low < this.#size.blobs && this.#hex(low) === wanted.toString('hex') ? low : -1;
  }

  /** A cacheconfig as BuildKit writes it: a record for each layer. */
  #manifest(manifest: number): Buffer {
    const { blobs, manifests, layers } = this.#size;
    const live = Math.floor((blobs * (TENTH - 1)) / TENTH);
    const step = Math.max(1, Math.floor(live / manifests));
    const createdAt = '2026-11-27T00:00:00Z';
    const listed = Array.from({ length: layers }, (_, layer) => {
      const number = (manifest * step + layer) % live;
      const digest = `sha256:${this.#hex(Math.floor(number / (TENTH - 1)) * TENTH + (number % (TENTH - 1)))}`;
      const annotations = {
        mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
        diffID: digest.replace(/.{8}$/, '00000000'),
        size: BLOB_SIZE,
        createdAt,
      };
      return { blob: digest, ...(layer === 1 ? {} : { parent: layer - 1 }), annotations };
    });
    const records = listed.map(({ blob }, layer) => ({
      layers: [{ layer, createdAt }],
      digest: blob.replace(/.{8}$/, '11111111'),
      ...(layer === 0 ? {} : { inputs: [[{ link: layer - 1 }]] }),
    }));
    return Buffer.from(JSON.stringify({ layers: listed, records }));
  }
}

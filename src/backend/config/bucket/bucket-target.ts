import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parallel } from '../../../bytes/parallel.js';
import { Slots } from '../../../bytes/slots.js';
import { saveBare } from '../../../graph/bare.js';
import type { Graph } from '../../../graph/graph.js';
import { type Content, contentOf, verified } from '../../../oci/content.js';
import type { BlobId, Descriptor } from '../../../oci/descriptor.js';
import type { Digest } from '../../../oci/digest.js';
import { type Document, topOf } from '../../../oci/document.js';
import type { CacheTarget, Publication } from '../../backend.js';
import { registryConversions } from '../../repository/conversion-memory.js';
import { readingImport, sourceOf } from '../../repository/import-bytes.js';
import { blobKey, type BucketKeys, manifestKey } from './bucket-keys.js';
import { findObjects } from './bucket-presence.js';
import { describedGraph } from './described-graph.js';
import type { ObjectStore } from './object-store.js';
import { contentOfFile, spool } from './spool.js';

export interface BucketTargetSettings {
  readonly name: string;
  /** How many blobs are written at once. */
  readonly uploads: number;
  /** How old a blob may be before it is touched, in milliseconds; undefined where the backend does not do that. */
  readonly touchRefresh: number | undefined;
}

/** A cache to be written under names in a bucket: blobs, then the cacheconfig under each name. */
export class BucketTarget implements CacheTarget {
  readonly name: string;
  readonly concurrency: number;
  readonly conversions = registryConversions((blobs, signal) => this.present(blobs, signal));
  readonly #store: ObjectStore;
  readonly #keys: BucketKeys;
  readonly #touchRefresh: number | undefined;
  readonly #slots: Slots;
  /** The blobs that are known to be in the bucket. */
  readonly #stored = new Set<Digest>();
  #folder: Promise<string> | undefined;
  #spooled = 0;

  constructor(store: ObjectStore, keys: BucketKeys, { name, uploads, touchRefresh }: BucketTargetSettings) {
    this.name = name;
    this.concurrency = uploads;
    this.#store = store;
    this.#keys = keys;
    this.#touchRefresh = touchRefresh;
    this.#slots = new Slots(uploads);
  }

  async present(blobs: readonly BlobId[], signal?: AbortSignal): Promise<ReadonlySet<Digest>> {
    const keys = new Set(blobs.map(({ digest }) => blobKey(this.#keys, digest)));
    const found = await findObjects(this.#store, this.#keys.blobs, [...keys], signal);
    const present = new Set<Digest>();
    await parallel(blobs, this.concurrency, signal, async ({ digest, size }, inner) => {
      const object = found.get(blobKey(this.#keys, digest));
      // BuildKit does not look at the size; what was cut short is written again here.
      if (object?.size !== size || present.has(digest)) return;
      const isOld = this.#touchRefresh !== undefined && Date.now() - object.modified > this.#touchRefresh;
      if (isOld && (await this.#store.touch?.(object, inner)) === false) return;
      present.add(digest);
      this.#stored.add(digest);
    });
    return present;
  }

  async write(content: Content, expected: BlobId | undefined, signal?: AbortSignal): Promise<BlobId> {
    return this.#slots.run(() =>
      readingImport(async () => {
        const written = await (expected === undefined
          ? this.#writeMade(content, signal)
          : this.#put(content, expected, signal));
        this.#stored.add(written.digest);
        return written;
      }),
    );
  }

  async publish(cache: Publication, signal?: AbortSignal): Promise<Descriptor> {
    const document = await this.#documentOf(cache, signal);
    for (const name of this.#keys.names) {
      const bytes = contentOf(document.bytes).open({}, signal);
      await this.#store.put(manifestKey(this.#keys, name), bytes, document.bytes.length, signal);
    }
    return document.descriptor;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const folder = await this.#folder?.catch(() => undefined);
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  }

  async #documentOf({ graph, saved }: Publication, signal: AbortSignal | undefined): Promise<Document> {
    const described = await this.#described(graph, signal);
    return described === graph && saved !== undefined ? topOf(saved.documents) : saveBare(described);
  }

  #described(graph: Graph, signal: AbortSignal | undefined): Promise<Graph> {
    const read = ({ digest, size }: BlobId) =>
      this.#stored.has(digest) ? this.#store.content(blobKey(this.#keys, digest), size) : undefined;
    return describedGraph(graph, read, this.name, signal);
  }

  async #put(content: Content, blob: BlobId, signal: AbortSignal | undefined): Promise<BlobId> {
    const bytes = verified(content.open({}, signal), blob, sourceOf(content) ?? this.name);
    const [store, key] = [this.#store, blobKey(this.#keys, blob.digest)];
    if (store.create === undefined) await store.put(key, bytes, blob.size, signal);
    else await store.create(key, bytes, blob.size, signal);
    return blob;
  }

  /** An object has the name of its digest from the start: bytes that are made while they are read go to a file first. */
  async #writeMade(content: Content, signal: AbortSignal | undefined): Promise<BlobId> {
    this.#folder ??= mkdtemp(join(tmpdir(), 'bkcache-'));
    const path = join(await this.#folder, `${this.#spooled++}`);
    try {
      const blob = await spool(content, path, signal);
      if ((await this.present([blob], signal)).has(blob.digest)) return blob;
      return await this.#put(contentOfFile(path, blob.size), blob, signal);
    } finally {
      await rm(path, { force: true });
    }
  }
}

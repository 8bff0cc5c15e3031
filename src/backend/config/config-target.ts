import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Slots } from '../../bytes/slots.js';
import { saveBare } from '../../graph/bare.js';
import type { Graph } from '../../graph/graph.js';
import { type Content, type ObjectOrigin, verified } from '../../oci/content.js';
import type { BlobId, Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { type Document, topOf } from '../../oci/document.js';
import type { CacheTarget, Publication } from '../backend.js';
import { registryConversions } from '../repository/conversion-memory.js';
import { readingImport, sourceOf } from '../repository/import-bytes.js';
import { describedGraph } from './described-graph.js';
import { contentOfFile, spool } from './spool.js';

/** A place with blobs by their digests, and a cacheconfig under names: what a target needs of it. */
export interface ConfigPlace {
  /** Which of some blobs it has, whole. */
  present(blobs: readonly BlobId[], signal: AbortSignal | undefined): Promise<ReadonlySet<Digest>>;
  /** The bytes of a blob that it has, unverified. */
  content(blob: BlobId): Content;
  /**
   * Has the service copy a blob from another place that it has.
   *
   * @returns false where it does not, and the bytes have to be sent
   */
  copy?(from: ObjectOrigin, blob: BlobId, signal: AbortSignal | undefined): Promise<boolean>;
  /**
   * Stores a blob: the whole of it or nothing.
   *
   * @param open - the bytes, which are checked while they are read; each call reads them from the start
   */
  store(open: () => AsyncIterable<Uint8Array>, blob: BlobId, signal: AbortSignal | undefined): Promise<void>;
  /** Writes a cacheconfig under the names of the export. Its blobs are stored already. */
  publish(document: Document, signal: AbortSignal | undefined): Promise<void>;
}

export interface ConfigTargetSettings {
  readonly name: string;
  /** How many blobs are written at once. */
  readonly uploads: number;
}

/** A cache to be written as a cacheconfig without a manifest: blobs, then the cacheconfig. */
export class ConfigTarget implements CacheTarget {
  readonly name: string;
  readonly concurrency: number;
  readonly conversions = registryConversions((blobs, signal) => this.present(blobs, signal));
  readonly #place: ConfigPlace;
  readonly #slots: Slots;
  /** The blobs that the place is known to have. */
  readonly #stored = new Set<Digest>();
  #folder: Promise<string> | undefined;
  #spooled = 0;

  constructor(place: ConfigPlace, { name, uploads }: ConfigTargetSettings) {
    this.name = name;
    this.concurrency = uploads;
    this.#place = place;
    this.#slots = new Slots(uploads);
  }

  async present(blobs: readonly BlobId[], signal?: AbortSignal): Promise<ReadonlySet<Digest>> {
    const present = await this.#place.present(blobs, signal);
    for (const digest of present) this.#stored.add(digest);
    return present;
  }

  async write(content: Content, expected: BlobId | undefined, signal?: AbortSignal): Promise<BlobId> {
    return this.#slots.run(() =>
      readingImport(async () => {
        const written = await (expected === undefined
          ? this.#writeMade(content, signal)
          : this.#store(content, expected, signal));
        this.#stored.add(written.digest);
        return written;
      }),
    );
  }

  async publish(cache: Publication, signal?: AbortSignal): Promise<Descriptor> {
    const document = await this.#documentOf(cache, signal);
    await this.#place.publish(document, signal);
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
    const read = (blob: BlobId) => (this.#stored.has(blob.digest) ? this.#place.content(blob) : undefined);
    return describedGraph(graph, read, this.name, signal);
  }

  async #store(content: Content, blob: BlobId, signal: AbortSignal | undefined): Promise<BlobId> {
    const { object } = content;
    if (object !== undefined && (await this.#place.copy?.(object, blob, signal)) === true) return blob;
    const open = () => verified(content.open({}, signal), blob, sourceOf(content) ?? this.name);
    await this.#place.store(open, blob, signal);
    return blob;
  }

  /** A blob has the name of its digest from the start: bytes that are made while they are read go to a file first. */
  async #writeMade(content: Content, signal: AbortSignal | undefined): Promise<BlobId> {
    this.#folder ??= mkdtemp(join(tmpdir(), 'bkcache-'));
    const path = join(await this.#folder, `${this.#spooled++}`);
    try {
      const blob = await spool(content, path, signal);
      if ((await this.present([blob], signal)).has(blob.digest)) return blob;
      return await this.#store(contentOfFile(path, blob.size), blob, signal);
    } finally {
      await rm(path, { force: true });
    }
  }
}

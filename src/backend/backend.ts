import type { Graph } from '../graph/graph.js';
import type { SavedCache, Shape } from '../graph/save.js';
import type { Content } from '../oci/content.js';
import type { BlobId, Descriptor } from '../oci/descriptor.js';

/** A build cache: its graph, and a way to the bytes of its layers. */
export interface Cache {
  /** Where it is, for messages. */
  readonly name: string;
  readonly graph: Graph;
  /** The documents that the graph was read from; a copy that changes nothing writes these very bytes. */
  readonly saved?: SavedCache;
  /** A layer's bytes, unverified. Reading them throws CacheError CORRUPT when they are not there. */
  blob(blob: BlobId): Content;
}

/** Where an import string leads. */
export interface CacheSource {
  readonly name: string;
  /**
   * The manifest that this import takes.
   *
   * @throws CacheError NOT_FOUND
   */
  resolve(signal?: AbortSignal): Promise<Descriptor>;
  /** @throws CacheError NOT_FOUND, CORRUPT */
  load(signal?: AbortSignal): Promise<Cache>;
}

/** Where an export string leads. Blobs are written first, and `publish` makes them a cache that others can see. */
export interface CacheTarget {
  readonly name: string;
  has(blob: BlobId): Promise<boolean>;
  /**
   * Stores a blob, checked; the whole of it or nothing.
   *
   * @param expected - left out for bytes that are made while they are read
   * @throws CacheError CORRUPT
   */
  write(content: Content, expected: BlobId | undefined, signal?: AbortSignal): Promise<BlobId>;
  publish(cache: SavedCache, signal?: AbortSignal): Promise<Descriptor>;
  /** The shape that the options ask for; undefined leaves it to the source. */
  readonly shape: Shape | undefined;
  /** Gives back what was taken for the writing; also after a failure. */
  close(): Promise<void>;
}

import type { CacheRecord } from '../buildkit/cache-config.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';

/** A blob at one place in the graph; the same blob can stand at several, on other parents. */
export interface Layer {
  readonly blob: Digest;
  /** The index of the layer below it, -1 for none. */
  readonly parent: number;
}

/**
 * What a build cache is, wherever it lives: records that say which step came to which result, over a list of layers.
 * Values are never changed; an edit that finds nothing to do returns the graph it was given.
 */
export interface Graph {
  readonly layers: readonly Layer[];
  readonly records: readonly CacheRecord[];
  /**
   * What is known of each blob, with OCI's media types. A blob that is missing here was missing from the manifest;
   * BuildKit drops results that need it.
   */
  readonly descriptors: ReadonlyMap<Digest, Descriptor>;
}

/** The layers of a result: the one it names and all its parents. */
export function* withParents(layers: readonly Layer[], index: number): Generator<number, void, undefined> {
  for (let at = index; at !== -1; at = layers[at]?.parent ?? -1) yield at;
}

/** Every layer that a record's results need. */
export function* layersOf({ layers }: Graph, record: CacheRecord): Generator<number, void, undefined> {
  for (const { layer } of record.results) yield* withParents(layers, layer);
  for (const chain of record.chains) yield* chain.layers;
}

/** Every layer that the results of some records need. */
export function layersOfAll({ layers }: Graph, records: readonly CacheRecord[]): Set<number> {
  const stacks = new Set<number>();
  const chained = new Set<number>();
  for (const { results, chains } of records) {
    for (const { layer } of results) {
      for (const index of withParents(layers, layer)) {
        // What is below was met before.
        if (stacks.has(index)) break;
        stacks.add(index);
      }
    }
    for (const chain of chains) for (const index of chain.layers) chained.add(index);
  }
  for (const index of chained) stacks.add(index);
  return stacks;
}

/** Whether a record has results, and is not only a key for others. */
export function hasResults(record: CacheRecord): boolean {
  return record.results.length + record.chains.length > 0;
}

/** The descriptors of the blobs that the layers name, each once, in the layers' order. */
export function blobsOf({ layers, descriptors }: Graph): Descriptor[] {
  const blobs = new Set(layers.map(({ blob }) => blob));
  return [...blobs].flatMap((blob) => descriptors.get(blob) ?? []);
}

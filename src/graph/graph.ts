import type { CacheRecord } from '../buildkit/cache-config.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';

/** A layer of the graph; several layers can have the same blob on different parents. */
export interface Layer {
  readonly blob: Digest;
  /** The index of the layer below it, -1 for none. */
  readonly parent: number;
}

/**
 * A build cache, independent of its backend: records that map steps to results, over a list of layers. A graph is immutable;
 * an edit without changes returns the same graph.
 */
export interface Graph {
  readonly layers: readonly Layer[];
  readonly records: readonly CacheRecord[];
  /**
   * The descriptors of the blobs, with OCI's media types. A blob without a descriptor was missing from the manifest; BuildKit
   * drops the results that need it.
   */
  readonly descriptors: ReadonlyMap<Digest, Descriptor>;
}

/** A layer and all its parents. */
export function* withParents(layers: readonly Layer[], index: number): Generator<number, void, undefined> {
  for (let at = index; at !== -1; at = layers[at]?.parent ?? -1) yield at;
}

/**
 * What is known of each layer with all its parents, from what is known of its parent. Each layer is looked at once, however
 * many stand on it, and only when it is asked for.
 *
 * @param step - from a layer's index, and what is known of its parent; undefined for a layer without one
 */
export function knownOfStacks<T>(
  layers: readonly Layer[],
  step: (layer: number, below: T | undefined) => T,
): (layer: number) => T {
  const known = new Map<number, T>();
  return (top) => {
    const open: number[] = [];
    for (let at = top; at !== -1 && !known.has(at); at = layers[at]?.parent ?? -1) open.push(at);
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      known.set(at, step(at, known.get(layers[at]?.parent ?? -1)));
    }
    return known.get(top) as T;
  };
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
        // The parents of this layer are in the set already.
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

/** The descriptors of the layers' blobs, each once, in the order of the layers. */
export function blobsOf({ layers, descriptors }: Graph): Descriptor[] {
  const blobs = new Set(layers.map(({ blob }) => blob));
  return [...blobs].flatMap((blob) => descriptors.get(blob) ?? []);
}

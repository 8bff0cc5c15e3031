import type { Timestamp } from '../oci/go-time.js';
import type { Digest } from '../oci/digest.js';
import { canonical } from './canonical.js';
import type { Graph, Layer } from './graph.js';
import { dropUnusedRecords, keepResults } from './keep.js';
import { dependenciesFirst } from './order.js';

/** A graph, and the time of its last use. */
export interface UsedGraph {
  readonly graph: Graph;
  /** In milliseconds since 1970. Undefined: each result counts as used when it was made. */
  readonly lastUsed: number | undefined;
}

/**
 * Drops the results that need one of these blobs. Results are dropped whole, so that the rest can be imported. All keys stay.
 */
export function evict(graph: Graph, blobs: ReadonlySet<Digest>): Graph {
  if (blobs.size === 0) return graph;
  const evicted = new Set([...graph.layers.entries()].flatMap(([index, { blob }]) => (blobs.has(blob) ? [index] : [])));
  return keepResults(graph, (layer) => !evicted.has(layer));
}

/**
 * The blobs of some graphs in the order of eviction: least recently used first, then the topmost of a stack, then the
 * largest. A blob never comes before one that stands on it, since the upper blob would go with it.
 *
 * Eviction in two steps equals eviction in one: a lower limit drops all that a higher limit drops.
 */
export function evictionOrder(graphs: readonly UsedGraph[]): readonly Digest[] {
  const lastUse = new Map<Digest, number>();
  const sizes = new Map<Digest, number>();
  const above = new Map<Digest, Set<Digest>>();
  for (const used of graphs) {
    for (const [digest, { size }] of used.graph.descriptors) sizes.set(digest, size);
    for (const { blob, upper, time } of usesOf(used)) {
      lastUse.set(blob, Math.max(lastUse.get(blob) ?? 0, time));
      const onTop = above.get(blob) ?? new Set();
      above.set(blob, onTop);
      if (upper !== undefined && upper !== blob) onTop.add(upper);
    }
  }
  const heights = heightsOf(above);
  return [...lastUse.keys()].toSorted(
    (a, b) =>
      (lastUse.get(a) ?? 0) - (lastUse.get(b) ?? 0) ||
      (heights.get(a) ?? 0) - (heights.get(b) ?? 0) ||
      (sizes.get(b) ?? 0) - (sizes.get(a) ?? 0) ||
      (a < b ? -1 : 1),
  );
}

/** A use of a blob by a result, or by several results over one layer. */
interface Use {
  readonly blob: Digest;
  /** The blob that stands on it there. */
  readonly upper: Digest | undefined;
  /** In milliseconds since 1970. */
  readonly time: number;
}

function* usesOf({ graph: { layers, records }, lastUsed }: UsedGraph): Generator<Use> {
  const blobOf = (layer: number | undefined) => (layer === undefined ? undefined : layers[layer]?.blob);
  const timeOf = (createdAt: Timestamp) => lastUsed ?? Math.max(0, Date.parse(createdAt));
  const times = new Map<number, number>();
  const use = (layer: number, time: number) => times.set(layer, Math.max(times.get(layer) ?? 0, time));
  for (const { results, chains } of records) {
    for (const { layer, createdAt } of results) use(layer, timeOf(createdAt));
    for (const { layers: chain, createdAt } of chains) {
      const time = timeOf(createdAt);
      for (const [place, layer] of chain.entries()) {
        const blob = blobOf(layer);
        if (blob !== undefined) yield { blob, upper: blobOf(chain[place + 1]), time };
      }
    }
  }
  // From the top down: the latest result of those above a layer is known when the layer is reached.
  const { order } = dependenciesFirst(layers.length, (layer) => parentsOf(layers[layer]));
  for (const layer of order.toReversed()) {
    const [time, one] = [times.get(layer), layers[layer]];
    if (time === undefined || one === undefined) continue;
    yield { blob: one.blob, upper: undefined, time };
    const below = blobOf(one.parent);
    if (below === undefined) continue;
    use(one.parent, time);
    yield { blob: below, upper: one.blob, time };
  }
}

function parentsOf(layer: Layer | undefined): number[] {
  return layer === undefined || layer.parent === -1 ? [] : [layer.parent];
}

/** The height of the highest stack on each blob. */
function heightsOf(above: ReadonlyMap<Digest, ReadonlySet<Digest>>): Map<Digest, number> {
  const blobs = [...above.keys()];
  const indexOf = new Map(blobs.map((blob, index) => [blob, index]));
  const onTop = [...above.values()].map((uppers) => [...uppers].flatMap((blob) => indexOf.get(blob) ?? []));
  // Two caches may have two blobs in opposite orders; such blobs come last.
  const heights = blobs.map(() => blobs.length);
  const { order } = dependenciesFirst(blobs.length, (index) => onTop[index] ?? []);
  for (const index of order) {
    let height = 0;
    for (const upper of onTop[index] ?? []) height = Math.max(height, (heights[upper] ?? 0) + 1);
    heights[index] = height;
  }
  return new Map(blobs.map((blob, index) => [blob, heights[index] ?? 0]));
}

/**
 * Drops the keys that lead to no result any more. They find nothing, and stay where there is room: the next export of a
 * build may use them.
 */
export function dropDeadKeys(graph: Graph): Graph {
  const left = dropUnusedRecords(graph);
  return left === graph ? graph : canonical(left);
}

import { IMPORT_LIMIT } from '../buildkit/import-limit.js';
import { dropDeadKeys, evict, evictionOrder, type UsedGraph } from '../graph/evict.js';
import { blobsOf, type Graph } from '../graph/graph.js';
import { saveGraph, type SavedCache, type Shape } from '../graph/save.js';
import type { Digest } from '../oci/digest.js';

/** A cache and its documents. */
export interface SavedGraph {
  readonly graph: Graph;
  readonly saved: SavedCache;
}

/** How far a limit was reached. */
export interface Fitted<T> {
  readonly value: T;
  readonly fits: boolean;
}

/** A cache in a form that can be written. */
export interface SizedGraph extends UsedGraph {
  readonly saved: SavedCache;
}

/**
 * Evicts from some caches as little as brings what they need under a limit, in bytes.
 *
 * @param others - blobs that are needed by what may not be touched, and their sizes in bytes; they are never evicted
 */
export function fitSize(
  caches: readonly SizedGraph[],
  others: ReadonlyMap<Digest, number>,
  limit: number,
): Fitted<readonly SavedGraph[]> {
  const order = evictionOrder(caches).filter((blob) => !others.has(blob));
  const sizeAfter = (count: number) => {
    const sizes = new Map(others);
    for (const { graph, saved } of cut(caches, order, count)) {
      for (const { digest, size } of blobsOf(graph)) sizes.set(digest, size);
      for (const { descriptor } of [saved.config, saved.manifest]) sizes.set(descriptor.digest, descriptor.size);
    }
    return sum(sizes.values());
  };
  const count = least(order.length, (evicted) => sizeAfter(evicted) <= limit);
  return { value: cut(caches, order, count ?? order.length), fits: count !== undefined };
}

function cut(caches: readonly SizedGraph[], order: readonly Digest[], count: number): SavedGraph[] {
  const blobs = new Set(order.slice(0, count));
  return caches.map(({ graph, saved }) => {
    const left = evict(graph, blobs);
    return left === graph ? { graph, saved } : { graph: left, saved: saveGraph(left, saved.shape) };
  });
}

/**
 * Evicts from a cache as little as brings its config and its manifest under the limit of BuildKit's import. Keys that
 * lead to no result any more go too: they are what most of such a config consists of.
 */
export function fitImportLimit(used: UsedGraph, shape: Shape): Fitted<SavedGraph> {
  const order = evictionOrder([used]);
  const after = (count: number) => {
    const graph = dropDeadKeys(evict(used.graph, new Set(order.slice(0, count))));
    return { graph, saved: saveGraph(graph, shape) };
  };
  const fits = ({ config, manifest }: SavedCache) =>
    Math.max(config.bytes.length, manifest.bytes.length) <= IMPORT_LIMIT;
  const count = least(order.length, (evicted) => fits(after(evicted).saved));
  return { value: after(count ?? order.length), fits: count !== undefined };
}

/** The least number up to `most` for which a test holds that holds for every larger one, too. */
function least(most: number, test: (count: number) => boolean): number | undefined {
  if (test(0)) return 0;
  if (!test(most)) return undefined;
  let [fails, holds] = [0, most];
  while (holds - fails > 1) {
    const middle = Math.floor((fails + holds) / 2);
    if (test(middle)) holds = middle;
    else fails = middle;
  }
  return holds;
}

function sum(numbers: Iterable<number>): number {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
}

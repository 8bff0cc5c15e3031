import { canonical } from '../../graph/canonical.js';
import { dropDeadKeys, evict, evictionOrder, type UsedGraph } from '../../graph/evict.js';
import { blobsOf, type Graph } from '../../graph/graph.js';
import { dropUnusedLayers } from '../../graph/keep.js';
import { oversized, saveAs, type SavedCache } from '../../graph/save.js';
import type { Digest } from '../../oci/digest.js';

/** A cache and its documents. */
export interface SavedGraph {
  readonly graph: Graph;
  readonly saved: SavedCache;
}

/** How far a limit was reached. */
interface Fitted<T> {
  readonly value: T;
  readonly fits: boolean;
}

/** Blobs that something needs, and how large their files are, in bytes; 0 for those that are not there. */
export type BlobSizes = ReadonlyMap<Digest, number>;

/** A cache that may be changed, and what it needs while it is not. */
interface SizedGraph extends UsedGraph, SavedGraph {
  readonly needs: BlobSizes;
}

/**
 * What a cache needs once it is written: its layers as far as they are there (foreign ones may not be), and its documents.
 *
 * @param sizes - of the blobs that are there
 */
export function neededSizes({ graph, saved }: SavedGraph, sizes: BlobSizes): BlobSizes {
  const layers = blobsOf(graph).map(({ digest }) => [digest, sizes.get(digest) ?? 0] as const);
  const documents = saved.documents.map(({ descriptor }) => [descriptor.digest, descriptor.size] as const);
  return new Map([...layers, ...documents]);
}

/** The size of all that is needed, with what is needed more than once counted once. */
export function sizeOf(needs: Iterable<BlobSizes>): number {
  const all = new Map<Digest, number>();
  for (const some of needs) for (const [digest, size] of some) all.set(digest, size);
  return sum(all.values());
}

/**
 * Evicts from some caches as little as brings what they need under a limit, in bytes. Layers that no result needs go
 * before any result does.
 *
 * @param others - what is needed by what may not be touched; it is never evicted
 * @param sizes - of the blobs that are there
 */
export function fitSize(
  caches: readonly SizedGraph[],
  others: BlobSizes,
  sizes: BlobSizes,
  limit: number,
): Fitted<readonly SavedGraph[]> {
  const order = sizedFirst(evictionOrder(caches), sizes).filter((blob) => !others.has(blob));
  const after = (step: number) => cut(caches, order, step);
  const fits = (step: number) => {
    const needs = after(step).map((now, index) => {
      const before = caches[index];
      return before?.graph === now.graph ? before.needs : neededSizes(now, sizes);
    });
    return sizeOf([others, ...needs]) <= limit;
  };
  const most = order.length + 1;
  const step = least(most, fits);
  return { value: after(step ?? most), fits: step !== undefined };
}

/** To evict a blob that is not there frees nothing. Those that stand on it come before it still. */
function sizedFirst(order: readonly Digest[], sizes: BlobSizes): Digest[] {
  return [...order.filter((blob) => sizes.has(blob)), ...order.filter((blob) => !sizes.has(blob))];
}

/** The caches as they are, then without layers that nothing needs, then with one blob evicted, two, … */
function cut(caches: readonly SizedGraph[], order: readonly Digest[], step: number): readonly SavedGraph[] {
  if (step === 0) return caches;
  const blobs = new Set(order.slice(0, step - 1));
  return caches.map(({ graph, saved }) => {
    const left = tidy(evict(graph, blobs));
    return left === graph ? { graph, saved } : { graph: left, saved: saveAs(saved, left) };
  });
}

function tidy(graph: Graph): Graph {
  const left = dropUnusedLayers(graph);
  return left === graph ? graph : canonical(left);
}

/**
 * Evicts from a cache as little as brings its documents under the limit of BuildKit's import. Keys that
 * lead to no result any more go too: they are what most of such a config consists of.
 */
export function fitImportLimit(used: UsedGraph, saved: SavedCache): Fitted<SavedGraph> {
  const order = evictionOrder([used]);
  const after = (count: number) => {
    const graph = dropDeadKeys(tidy(evict(used.graph, new Set(order.slice(0, count)))));
    return { graph, saved: saveAs(saved, graph) };
  };
  const count = least(order.length, (evicted) => oversized(after(evicted).saved).length === 0);
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

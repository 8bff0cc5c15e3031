import { IMPORT_LIMIT } from '../../buildkit/import-limit.js';
import { canonical } from '../../graph/canonical.js';
import { dropDeadKeys, evict, evictionOrder, type UsedGraph } from '../../graph/evict.js';
import { blobsOf, type Graph } from '../../graph/graph.js';
import { dropUnusedLayers } from '../../graph/keep.js';
import { saveAs, type SavedCache } from '../../graph/save.js';
import type { Digest } from '../../oci/digest.js';
import type { Document } from '../../oci/document.js';

/** How a cache is written: what its documents are, without their bytes. */
interface Written extends Pick<SavedCache, 'shape' | 'fields'> {
  readonly documents: readonly Pick<Document, 'descriptor'>[];
}

/** A cache, and how it is written in its place. */
export interface WrittenGraph {
  readonly graph: Graph;
  readonly saved: Written;
}

/** A cache that is smaller than what is written in its place. */
interface ShrunkGraph extends WrittenGraph {
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
interface SizedGraph extends UsedGraph, WrittenGraph {
  readonly needs: BlobSizes;
}

/**
 * What a cache needs once it is written: its layers as far as they are there (foreign ones may not be), and its documents.
 *
 * @param sizes - of the blobs that are there
 */
export function neededSizes({ graph, saved }: WrittenGraph, sizes: BlobSizes): BlobSizes {
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
 * @returns what becomes of each cache; undefined for one that stays as it is
 */
export function fitSize(
  caches: readonly SizedGraph[],
  others: BlobSizes,
  sizes: BlobSizes,
  limit: number,
): Fitted<readonly (ShrunkGraph | undefined)[]> {
  const order = sizedFirst(evictionOrder(caches), sizes).filter((blob) => !others.has(blob));
  const places = new Map(order.map((blob, place) => [blob, place]));
  const cuttable = caches.map((cache) => new Cuttable(cache, order, places, sizes));
  const most = order.length + 1;
  const step = least(most, limit, (tried) => {
    const size = sizeOf(chain([others], cuttable, tried));
    for (const one of cuttable) one.keep(size <= limit);
    return size;
  });
  return { value: cuttable.map((one) => one.after(step ?? most)), fits: step !== undefined };
}

function* chain(first: readonly BlobSizes[], caches: readonly Cuttable[], step: number): Generator<BlobSizes> {
  yield* first;
  for (const cache of caches) yield cache.needsAfter(step);
}

/** To evict a blob that is not there frees nothing. Those that stand on it come before it still. */
function sizedFirst(order: readonly Digest[], sizes: BlobSizes): Digest[] {
  return [...order.filter((blob) => sizes.has(blob)), ...order.filter((blob) => !sizes.has(blob))];
}

/**
 * A cache after each step of an eviction: as it is, then without layers that nothing needs, then with one blob of the order
 * evicted, two, … Many steps evict blobs of other caches only, and what was found at the last steps is kept: a search by
 * halves looks at each cache a few times then, and not once for each half.
 */
class Cuttable {
  readonly #cache: SizedGraph;
  readonly #order: readonly Digest[];
  /** Where the blobs of the cache are in the order, ascending. */
  readonly #places: readonly number[];
  readonly #sizes: BlobSizes;
  readonly #kept = new Map<boolean, Needed>();
  #last: Needed | undefined;

  constructor(cache: SizedGraph, order: readonly Digest[], places: ReadonlyMap<Digest, number>, sizes: BlobSizes) {
    this.#cache = cache;
    this.#order = order;
    const blobs = new Set(cache.graph.layers.map(({ blob }) => blob));
    const own = Array.from(blobs, (blob) => places.get(blob)).filter((place) => place !== undefined);
    this.#places = own.toSorted((a, b) => a - b);
    this.#sizes = sizes;
  }

  needsAfter(step: number): BlobSizes {
    if (step === 0) return this.#cache.needs;
    const evicted = countBelow(this.#places, step - 1);
    const known = [this.#last, ...this.#kept.values()].find((needed) => needed?.evicted === evicted);
    this.#last = known ?? { evicted, needs: this.#needsWithout(evicted) };
    return this.#last.needs;
  }

  /** Keeps what was found at the last step in the place of what was found at the one before with the same outcome. */
  keep(outcome: boolean): void {
    if (this.#last !== undefined) this.#kept.set(outcome, this.#last);
  }

  /** @returns undefined when nothing of it goes */
  after(step: number): ShrunkGraph | undefined {
    return step === 0 ? undefined : this.#cut(countBelow(this.#places, step - 1));
  }

  #needsWithout(evicted: number): BlobSizes {
    const cut = this.#cut(evicted);
    return cut === undefined ? this.#cache.needs : neededSizes(cut, this.#sizes);
  }

  #cut(evicted: number): ShrunkGraph | undefined {
    const { graph, saved } = this.#cache;
    const blobs = new Set(this.#places.slice(0, evicted).flatMap((place) => this.#order[place] ?? []));
    const left = tidy(evict(graph, blobs));
    return left === graph ? undefined : { graph: left, saved: saveAs(saved, left) };
  }
}

/** What a cache needs once so many of its own blobs are evicted. */
interface Needed {
  readonly evicted: number;
  readonly needs: BlobSizes;
}

/** How many of some ascending numbers are below another. */
function countBelow(numbers: readonly number[], limit: number): number {
  let [from, to] = [0, numbers.length];
  while (from < to) {
    const middle = Math.floor((from + to) / 2);
    if ((numbers[middle] ?? 0) < limit) from = middle + 1;
    else to = middle;
  }
  return from;
}

function tidy(graph: Graph): Graph {
  const left = dropUnusedLayers(graph);
  return left === graph ? graph : canonical(left);
}

/**
 * Evicts from a cache as little as brings its documents under the limit of BuildKit's import. Keys that
 * lead to no result any more go too: they are what most of such a config consists of.
 */
export function fitImportLimit(used: UsedGraph, saved: Written): Fitted<ShrunkGraph> {
  const order = evictionOrder([used]);
  const after = (count: number) => {
    const graph = dropDeadKeys(tidy(evict(used.graph, new Set(order.slice(0, count)))));
    return { graph, saved: saveAs(saved, graph) };
  };
  const count = least(order.length, IMPORT_LIMIT, (evicted) => largest(after(evicted).saved));
  return { value: after(count ?? order.length), fits: count !== undefined };
}

/** The size of the largest document that has the limit, in bytes. */
function largest({ shape, documents }: SavedCache): number {
  return shape === undefined ? 0 : Math.max(...documents.map(({ descriptor }) => descriptor.size));
}

/** How often the least number is looked for where it is expected. */
const EXPECTING = 8;

/**
 * The least number up to `most` after which a size is within a limit. A size falls as the number grows, and mostly evenly:
 * so the first tries are at the number where the limit is expected, and in turn a little beside it, on the side where the
 * least number must be. The rest is a search by halves.
 */
function least(most: number, limit: number, sizeAfter: (count: number) => number): number | undefined {
  let over = { count: 0, size: sizeAfter(0) };
  if (over.size <= limit) return 0;
  let within = { count: most, size: sizeAfter(most) };
  if (within.size > limit) return undefined;
  let last = within;
  for (let tries = 0; within.count - over.count > 1; tries++) {
    const width = within.count - over.count;
    let count = over.count + Math.floor(width / 2);
    if (tries < EXPECTING) {
      const beside = Math.ceil(width / 50);
      if (tries % 2 === 1) count = last === within ? within.count - beside : over.count + beside;
      else count = over.count + Math.round((width * (over.size - limit)) / (over.size - within.size));
    }
    count = Math.min(within.count - 1, Math.max(over.count + 1, count));
    last = { count, size: sizeAfter(count) };
    if (last.size <= limit) within = last;
    else over = last;
  }
  return within.count;
}

function sum(numbers: Iterable<number>): number {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
}

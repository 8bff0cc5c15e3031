import { createHash } from 'node:crypto';
import type { CacheRecord, Chain, Link, Result } from '../buildkit/cache-config.js';
import { compareTimestamps } from '../oci/go-time.js';
import { compareText } from '../oci/json.js';
import { links } from './check.js';
import type { Graph, Layer } from './graph.js';
import { dependenciesFirst } from './order.js';
import { renumber } from './renumber.js';

/**
 * The graph with each layer and record once, in BuildKit's order (cache/remotecache/v1/utils.go, sortConfig). BuildKit leaves
 * ties to the order of a Go map; here the content of the nodes decides them, so that equal graphs become equal.
 *
 * Layers are equal when their blobs and parents are equal. Records are equal when their digests and inputs are equal; the
 * results of equal records are united.
 */
export function canonical({ layers, records, descriptors }: Graph): Graph {
  const layerOrder = orderLayers(layers);
  const recordOrder = orderRecords(uniteRecords(records, layerOrder.place));
  return { layers: layerOrder.layers, records: recordOrder, descriptors };
}

/** A layer list without duplicates, and the new index of each old layer. */
interface LayerOrder {
  readonly layers: readonly Layer[];
  readonly place: (old: number) => number;
}

function orderLayers(layers: readonly Layer[]): LayerOrder {
  const unique: Layer[] = [];
  const uniqueOf = new Map<number, number>();
  const known = new Map<string, number>();
  const { order } = dependenciesFirst(layers.length, (index) => parentOf(layers[index]));
  for (const old of order) {
    const layer = layers[old];
    if (layer === undefined) continue;
    const parent = uniqueOf.get(layer.parent) ?? -1;
    const key = `${layer.blob} ${parent}`;
    const index = known.get(key) ?? unique.push({ blob: layer.blob, parent }) - 1;
    known.set(key, index);
    uniqueOf.set(old, index);
  }
  const sorted = sortStacks(unique);
  const placeOf = inverse(sorted);
  const place = (old: number) => placeOf[uniqueOf.get(old) ?? -1] ?? -1;
  return {
    layers: sorted.map((index) => {
      const { blob, parent } = at(unique, index);
      return { blob, parent: placeOf[parent] ?? -1 };
    }),
    place,
  };
}

function parentOf(layer: Layer | undefined): number[] {
  return layer === undefined || layer.parent === -1 ? [] : [layer.parent];
}

/**
 * Sorts layers by blob, then by the blobs below; a layer without a parent comes first. Each round doubles the number of
 * compared layers, so that high stacks of one blob take no longer than others.
 */
function sortStacks(layers: readonly Layer[]): number[] {
  const sorted = [...layers.keys()].toSorted((a, b) => compareText(at(layers, a).blob, at(layers, b).blob));
  let { ranks, count } = ranked(sorted, (a, b) => at(layers, a).blob === at(layers, b).blob);
  let below = layers.map(({ parent }) => parent);
  while (count < layers.length) {
    const [known, next] = [ranks, below];
    const rankBelow = (layer: number) => known[next[layer] ?? -1] ?? -1;
    const compare = (a: number, b: number) => at(known, a) - at(known, b) || rankBelow(a) - rankBelow(b);
    sorted.sort(compare);
    ({ ranks, count } = ranked(sorted, (a, b) => compare(a, b) === 0));
    below = next.map((layer) => next[layer] ?? -1);
  }
  return sorted;
}

/** The rank of each layer, and the number of ranks. Equal layers have the same rank. */
function ranked(
  sorted: readonly number[],
  areEqual: (a: number, b: number) => boolean,
): { readonly ranks: readonly number[]; readonly count: number } {
  const ranks: number[] = Array.from({ length: sorted.length }, () => 0);
  let rank = 0;
  for (const [place, layer] of sorted.entries()) {
    if (place > 0 && !areEqual(layer, at(sorted, place - 1))) rank++;
    ranks[layer] = rank;
  }
  return { ranks, count: sorted.length === 0 ? 0 : rank + 1 };
}

/** A record with links to united records, and a name made of its digest and all its inputs. */
interface UnitedRecord extends CacheRecord {
  readonly identity: string;
}

function uniteRecords(records: readonly CacheRecord[], place: (layer: number) => number): UnitedRecord[] {
  const united: UnitedRecord[] = [];
  const unitedOf = new Map<number, number>();
  const known = new Map<string, number>();
  const { order } = dependenciesFirst(records.length, (index) => links(records[index]));
  for (const old of order) {
    const record = at(records, old);
    const inputs = record.inputs.map((alternatives) => uniteLinks(alternatives, unitedOf, united));
    const identity = identify(record, inputs, united);
    const { results, chains } = renumber(record, { layer: place });
    const index = known.get(identity);
    const twin = index === undefined ? undefined : at(united, index);
    const result: UnitedRecord = {
      digest: record.digest,
      inputs,
      results: uniteResults([...(twin?.results ?? []), ...results]),
      chains: uniteChains([...(twin?.chains ?? []), ...chains]),
      identity,
    };
    if (index === undefined) known.set(identity, united.push(result) - 1);
    else united[index] = result;
    unitedOf.set(old, index ?? united.length - 1);
  }
  return united;
}

/** Alternatives without duplicates, in an order that depends only on their targets. */
function uniteLinks(
  alternatives: readonly Link[],
  unitedOf: ReadonlyMap<number, number>,
  united: readonly UnitedRecord[],
): Link[] {
  const unique = new Map<string, Link>();
  for (const { selector, link } of alternatives) {
    const target = unitedOf.get(link) ?? -1;
    unique.set(`${target} ${selector}`, { selector, link: target });
  }
  return [...unique.values()].toSorted(
    (a, b) =>
      compareText(a.selector, b.selector) ||
      compareText(at(united, a.link).digest, at(united, b.link).digest) ||
      compareText(at(united, a.link).identity, at(united, b.link).identity),
  );
}

function identify({ digest }: CacheRecord, inputs: readonly Link[][], united: readonly UnitedRecord[]): string {
  const hash = createHash('sha256').update(digest);
  for (const alternatives of inputs) {
    hash.update('\n');
    // The length marks where a selector ends.
    for (const { selector, link } of alternatives) {
      hash.update(`${selector.length} ${selector} ${at(united, link).identity} `);
    }
  }
  return hash.digest('hex');
}

/** Results without duplicates, newest first: BuildKit prefers the newest (cache/remotecache/v1/chains.go, bestResult). */
function uniteResults(results: readonly Result[]): Result[] {
  const unique = new Map(results.map((result) => [`${result.layer} ${result.createdAt}`, result]));
  return [...unique.values()].toSorted(
    (a, b) => compareTimestamps(b.createdAt, a.createdAt) || a.layer - b.layer || compareText(a.createdAt, b.createdAt),
  );
}

function uniteChains(chains: readonly Chain[]): Chain[] {
  const unique = new Map(chains.map((chain) => [`${chain.layers.join(',')} ${chain.createdAt}`, chain]));
  return [...unique.entries()]
    .toSorted(([keyA, a], [keyB, b]) => compareTimestamps(b.createdAt, a.createdAt) || compareText(keyA, keyB))
    .map(([, chain]) => chain);
}

/** BuildKit's order: digest, number of inputs, then the alternatives by count, selector and digest. */
function orderRecords(records: readonly UnitedRecord[]): CacheRecord[] {
  const sorted = [...records.keys()].toSorted((a, b) => compareRecords(records, at(records, a), at(records, b)));
  const placeOf = inverse(sorted);
  return sorted.map((index) => {
    const record = renumber(at(records, index), { record: (old) => placeOf[old] ?? -1 });
    const inputs = record.inputs.map((alternatives) =>
      alternatives.toSorted((a, b) => a.link - b.link || compareText(a.selector, b.selector)),
    );
    return { ...record, inputs };
  });
}

function compareRecords(records: readonly UnitedRecord[], a: UnitedRecord, b: UnitedRecord): number {
  const order = compareText(a.digest, b.digest) || a.inputs.length - b.inputs.length;
  if (order !== 0) return order;
  for (const [index, left] of a.inputs.entries()) {
    const right = at(b.inputs, index);
    if (left.length !== right.length) return left.length - right.length;
    for (const [position, { selector, link }] of left.entries()) {
      const other = at(right, position);
      const difference =
        compareText(selector, other.selector) || compareText(at(records, link).digest, at(records, other.link).digest);
      if (difference !== 0) return difference;
    }
  }
  return compareText(a.identity, b.identity);
}

function inverse(permutation: readonly number[]): number[] {
  const places: number[] = Array.from({ length: permutation.length }, () => -1);
  for (const [place, old] of permutation.entries()) places[old] = place;
  return places;
}

/** The element at an index that `checkConfig` has checked. */
function at<T>(list: readonly T[], index: number): T {
  const item = list[index];
  if (item === undefined) throw new RangeError(`no element ${index} in a list of ${list.length}`);
  return item;
}

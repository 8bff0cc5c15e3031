import type { CacheRecord } from '../buildkit/cache-config.js';
import { canonical } from './canonical.js';
import { links } from './check.js';
import { type Graph, hasResults, knownOfStacks, type Layer, layersOfAll } from './graph.js';
import { renumber } from './renumber.js';

/**
 * Keeps the results whose layers all pass a test, and the layers that these need. Every record stays as a key.
 *
 * @param isKept - the test, on the index of a layer
 * @param isChainKept - the test of a chain, where it is another one
 */
export function keepResults(
  graph: Graph,
  isKept: (layer: number) => boolean,
  isChainKept = (layers: readonly number[]): boolean => layers.every((layer) => isKept(layer)),
): Graph {
  let dropped = false;
  const noted = (stays: boolean) => {
    dropped ||= !stays;
    return stays;
  };
  const isStackKept = knownOfStacks<boolean>(graph.layers, (layer, below = true) => below && isKept(layer));
  const records = graph.records.map((record) => ({
    ...record,
    results: record.results.filter(({ layer }) => noted(isStackKept(layer))),
    chains: record.chains.filter(({ layers }) => noted(isChainKept(layers))),
  }));
  return dropped ? canonical(dropUnusedLayers({ ...graph, records })) : graph;
}

/** Keeps the layers that a result needs, and drops others, also those that only a manifest lists. */
export function dropUnusedLayers(graph: Graph): Graph {
  const used = layersOfAll(graph, graph.records);
  const listed = new Set(graph.layers.map(({ blob }) => blob));
  if (used.size === graph.layers.length && [...graph.descriptors.keys()].every((blob) => listed.has(blob)))
    return graph;
  const { layers, records } = keepLayers(graph, used);
  const blobs = new Set(layers.map(({ blob }) => blob));
  return { layers, records, descriptors: new Map([...graph.descriptors].filter(([blob]) => blobs.has(blob))) };
}

/**
 * Some of the layers, and the records over these. A layer whose parent goes has none any more.
 *
 * @param kept - the indexes of layers, all that the records need among them
 */
export function keepLayers<L extends Layer>(
  { layers, records }: { readonly layers: readonly L[]; readonly records: readonly CacheRecord[] },
  kept: ReadonlySet<number>,
): { readonly layers: readonly L[]; readonly records: readonly CacheRecord[] } {
  const places = newPlaces(layers, kept);
  const layer = (old: number) => places.get(old) ?? -1;
  return {
    layers: layers.filter((_, index) => kept.has(index)).map((one) => ({ ...one, parent: layer(one.parent) })),
    records: records.map((record) => renumber(record, { layer })),
  };
}

/** Drops the records that lead to no result: as keys they find nothing. */
export function dropUnusedRecords(graph: Graph): Graph {
  const used = new Set(graph.records.flatMap((record, index) => (hasResults(record) ? [index] : [])));
  // The walk of a set reaches what is added during the walk.
  for (const index of used) for (const link of links(graph.records[index])) used.add(link);
  if (used.size === graph.records.length) return graph;
  return { ...graph, records: keepRecords(graph.records, used) };
}

/** The records in a set, with the links to records in the set. */
export function keepRecords(records: readonly CacheRecord[], kept: ReadonlySet<number>): CacheRecord[] {
  const places = newPlaces(records, kept);
  return records
    .filter((_, index) => kept.has(index))
    .map((record) => {
      const inputs = record.inputs.map((alternatives) => alternatives.filter(({ link }) => kept.has(link)));
      return renumber({ ...record, inputs }, { record: (old) => places.get(old) ?? -1 });
    });
}

/** Where the items of a list come to stand when only some of them stay. */
function newPlaces(list: readonly unknown[], kept: ReadonlySet<number>): ReadonlyMap<number, number> {
  return new Map([...list.keys()].filter((index) => kept.has(index)).map((old, place) => [old, place]));
}

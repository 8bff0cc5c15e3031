import type { CacheRecord } from '../buildkit/cache-config.js';
import { canonical } from './canonical.js';
import { links } from './check.js';
import { type Graph, hasResults, layersOfAll, withParents } from './graph.js';

/**
 * Drops the results that the test does not want to keep, and the layers that no result needs any more. Every record
 * stays as a key.
 *
 * @param keep - is given the indexes of all layers of a result
 */
export function keepResults(graph: Graph, keep: (layers: readonly number[]) => boolean): Graph {
  let dropped = false;
  const kept = (layers: Iterable<number>) => {
    const stays = keep([...layers]);
    dropped ||= !stays;
    return stays;
  };
  const records = graph.records.map((record) => ({
    ...record,
    results: record.results.filter(({ layer }) => kept(withParents(graph.layers, layer))),
    chains: record.chains.filter(({ layers }) => kept(layers)),
  }));
  return dropped ? canonical(dropUnusedLayers({ ...graph, records })) : graph;
}

/** Drops the layers that no result needs, also those that only a manifest lists. */
export function dropUnusedLayers(graph: Graph): Graph {
  const used = layersOfAll(graph, graph.records);
  const listed = new Set(graph.layers.map(({ blob }) => blob));
  if (used.size === graph.layers.length && [...graph.descriptors.keys()].every((blob) => listed.has(blob)))
    return graph;
  const kept = [...graph.layers.keys()].filter((layer) => used.has(layer));
  const placeOf = new Map(kept.map((old, place) => [old, place]));
  const place = (old: number) => placeOf.get(old) ?? -1;
  const layers = graph.layers
    .filter((_, index) => used.has(index))
    .map(({ blob, parent }) => ({ blob, parent: place(parent) }));
  const blobs = new Set(layers.map(({ blob }) => blob));
  return {
    layers,
    records: graph.records.map((record) => ({
      ...record,
      results: record.results.map((result) => ({ ...result, layer: place(result.layer) })),
      chains: record.chains.map((chain) => ({ ...chain, layers: chain.layers.map(place) })),
    })),
    descriptors: new Map([...graph.descriptors].filter(([blob]) => blobs.has(blob))),
  };
}

/** Drops the records that lead to no result: nothing can come of them as keys either. */
export function dropUnusedRecords(graph: Graph): Graph {
  const used = new Set(graph.records.flatMap((record, index) => (hasResults(record) ? [index] : [])));
  // A set that grows while it is walked is walked to its end.
  for (const index of used) for (const link of links(graph.records[index])) used.add(link);
  if (used.size === graph.records.length) return graph;
  return { ...graph, records: keepRecords(graph.records, used) };
}

/** Some of the records, and of their links those that lead to one of them. */
export function keepRecords(records: readonly CacheRecord[], kept: ReadonlySet<number>): CacheRecord[] {
  const places = new Map([...records.keys()].filter((index) => kept.has(index)).map((old, place) => [old, place]));
  return records
    .filter((_, index) => kept.has(index))
    .map((record) => ({
      ...record,
      inputs: record.inputs.map((alternatives) =>
        alternatives.flatMap(({ selector, link }) => {
          const place = places.get(link);
          return place === undefined ? [] : { selector, link: place };
        }),
      ),
    }));
}

import { links } from './check.js';
import { canonical } from './canonical.js';
import { type Graph, layersOf, withParents } from './graph.js';

/**
 * Keeps the results that BuildKit's mode=min would have kept: those all of whose layers belong to what was built in
 * the end, which are the layers of the records that no other record links to. The blob counts, not what it lies on:
 * a layer of COPY --link is the same in the image and by itself. Every key stays
 * (solver/exporter.go, CacheExportModeMin).
 */
export function min(graph: Graph): Graph {
  const blobOf = (layer: number) => graph.layers[layer]?.blob;
  const linked = new Set(graph.records.flatMap(links));
  const ends = graph.records.filter((_, index) => !linked.has(index));
  const built = new Set(ends.flatMap((record) => [...layersOf(graph, record)]).map(blobOf));
  return keepResults(graph, (layers) => layers.every((layer) => built.has(blobOf(layer))));
}

/** Drops the results that the test does not want to keep, and the layers that no result needs any more. */
function keepResults(graph: Graph, keep: (layers: readonly number[]) => boolean): Graph {
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

function dropUnusedLayers(graph: Graph): Graph {
  const used = new Set(graph.records.flatMap((record) => [...layersOf(graph, record)]));
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

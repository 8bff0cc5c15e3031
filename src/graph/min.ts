import { endsOf } from './ends.js';
import { type Graph, layersOfAll } from './graph.js';
import { keepResults } from './keep.js';

/**
 * Keeps the results that BuildKit's mode=min would have kept: those all of whose layers belong to what was built in
 * the end, which are the layers of the records that no other record links to. The blob counts, not what it lies on:
 * a layer of COPY --link is the same in the image and by itself. Every key stays
 * (solver/exporter.go, CacheExportModeMin).
 */
export function min(graph: Graph): Graph {
  const blobOf = (layer: number) => graph.layers[layer]?.blob;
  const ends = endsOf(graph.records).flatMap((index) => graph.records[index] ?? []);
  const built = new Set(Array.from(layersOfAll(graph, ends), blobOf));
  return keepResults(graph, (layers) => layers.every((layer) => built.has(blobOf(layer))));
}

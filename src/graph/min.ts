import { endsOf } from './ends.js';
import { type Graph, layersOfAll } from './graph.js';
import { keepResults } from './keep.js';

/**
 * Keeps what mode=min keeps (solver/exporter.go, CacheExportModeMin): a result survives if all its layers occur in a final
 * record, one that no other record links to. Layers are compared by their blobs, not by their parents: a layer of
 * COPY --link is the same in the image and by itself. Every key stays.
 */
export function min(graph: Graph): Graph {
  return keepResults(graph, builtTest(graph));
}

/** Whether mode=min keeps every result. It takes a part of the time of `min`, which makes another graph. */
export function isMin(graph: Graph): boolean {
  const isBuilt = builtTest(graph);
  for (const layer of layersOfAll(graph, graph.records)) if (!isBuilt(layer)) return false;
  return true;
}

/** Whether the blob of a layer occurs in a final record. */
function builtTest(graph: Graph): (layer: number) => boolean {
  const blobOf = (layer: number) => graph.layers[layer]?.blob;
  const ends = endsOf(graph.records).flatMap((index) => graph.records[index] ?? []);
  const built = new Set(Array.from(layersOfAll(graph, ends), blobOf));
  return (layer) => built.has(blobOf(layer));
}

import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { canonical } from './canonical.js';
import type { Graph } from './graph.js';
import { mergeDescriptors } from './merge.js';

/**
 * Replaces blobs by others, such as layers by their recompressed form. Where several blobs become one, its descriptor is
 * merged from theirs, so that a merge of graphs before or after gives the same graph.
 */
export function replaceBlobs(graph: Graph, replacements: ReadonlyMap<Digest, Descriptor>): Graph {
  if (replacements.size === 0) return graph;
  const descriptors = new Map<Digest, Descriptor>();
  for (const descriptor of graph.descriptors.values()) {
    const now = replacements.get(descriptor.digest) ?? descriptor;
    const known = descriptors.get(now.digest);
    descriptors.set(now.digest, known === undefined ? now : mergeDescriptors(known, now));
  }
  return canonical({
    layers: graph.layers.map(({ blob, parent }) => ({ blob: replacements.get(blob)?.digest ?? blob, parent })),
    records: graph.records,
    descriptors,
  });
}

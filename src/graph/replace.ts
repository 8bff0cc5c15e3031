import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { canonical } from './canonical.js';
import type { Graph } from './graph.js';
import { mergeDescriptors } from './merge.js';

/**
 * Puts other blobs in the place of some, such as re-encoded layers in the place of the originals. Of several that
 * become one, that one has what was said of each: merging before or after comes to the same.
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

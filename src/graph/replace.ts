import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { canonical } from './canonical.js';
import type { Graph } from './graph.js';

/** Puts other blobs in the place of some, such as re-encoded layers in the place of the originals. */
export function replaceBlobs(graph: Graph, replacements: ReadonlyMap<Digest, Descriptor>): Graph {
  if (replacements.size === 0) return graph;
  const replacement = (blob: Digest) => replacements.get(blob);
  return canonical({
    layers: graph.layers.map(({ blob, parent }) => ({ blob: replacement(blob)?.digest ?? blob, parent })),
    records: graph.records,
    descriptors: new Map(
      [...graph.descriptors.values()].map((descriptor) => {
        const descriptorNow = replacement(descriptor.digest) ?? descriptor;
        return [descriptorNow.digest, descriptorNow] as const;
      }),
    ),
  });
}

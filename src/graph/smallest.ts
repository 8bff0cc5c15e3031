import { type Digest, sha256 } from '../oci/digest.js';
import { canonical } from './canonical.js';
import type { Graph } from './graph.js';
import { renumber } from './renumber.js';

/**
 * A lower bound for the encoded size of a graph after recompression: a graph in which layers that may become one are one,
 * and every index is as short as it can be. It is good for nothing else.
 *
 * @param tars - the diffIDs of the layers; where that of one is not known, it might become one with any other
 */
export function smallest({ layers, records }: Graph, tars: ReadonlyMap<Digest, string>): Graph {
  const areKnown = layers.every(({ blob }) => tars.has(blob));
  const united = canonical({
    layers: layers.map(({ blob, parent }) => ({ blob: sha256((areKnown && tars.get(blob)) || ''), parent })),
    records,
    descriptors: new Map(),
  });
  return {
    layers: united.layers.map(({ blob, parent }) => ({ blob, parent: Math.min(parent, 0) })),
    records: united.records.map((record) => renumber(record, { layer: () => 0 })),
    descriptors: united.descriptors,
  };
}

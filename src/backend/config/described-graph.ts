import { undescribedLayers } from '../../graph/bare.js';
import { evict } from '../../graph/evict.js';
import { blobsOf, type Graph } from '../../graph/graph.js';
import { dropUnusedLayers } from '../../graph/keep.js';
import { correctedGraph, type Proof } from '../../graph/statement.js';
import { CacheError } from '../../errors.js';
import type { Content } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';

/**
 * A graph that can be written without a manifest. BuildKit refuses a whole cache for one layer without a diffID: a layer
 * gets it from its bytes. Results with layers that the target does not have go, since no URL and no manifest entry says
 * where else they are.
 *
 * @param read - the bytes of a blob at the target; undefined where the target does not have it
 */
export async function describedGraph(
  graph: Graph,
  read: (blob: BlobId) => Content | undefined,
  where: string,
  signal: AbortSignal | undefined,
): Promise<Graph> {
  const proofs = new Map<Digest, Proof>();
  for (const digest of undescribedLayers(graph)) {
    const layer = graph.descriptors.get(digest);
    const content = layer && read(layer);
    if (content === undefined) continue;
    const { prove } = await import('../../codec/proof.js');
    proofs.set(digest, await prove(content, { digest, sizes: [layer?.size ?? 0], layer: 'whole', where, signal }));
  }
  const proven = proofs.size === 0 ? graph : correctedGraph(graph, proofs);
  const absent = blobsOf(proven).filter((blob) => read(blob) === undefined);
  const gone = new Set([...undescribedLayers(proven), ...absent.map(({ digest }) => digest)]);
  if (gone.size === 0) return proven;
  const kept = dropUnusedLayers(evict(proven, gone));
  if (kept.layers.length > 0 || graph.layers.length === 0) return kept;
  throw new CacheError('FAILED', `${where}: no layer of this cache can be written there`, {
    hint: 'layers that have to be fetched from elsewhere, or whose diffID is unknown, have no place there',
    side: 'export',
  });
}

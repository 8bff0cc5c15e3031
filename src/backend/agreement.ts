import { prove } from '../codec/proof.js';
import { CacheError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import { correctedGraph, type Proof } from '../graph/statement.js';
import { type Descriptor, ESTARGZ_TOC_DIGEST, UNCOMPRESSED } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { Cache } from './backend.js';

/**
 * The graphs of caches to merge. If they do not agree on the size, the media type or the diffID of a layer,
 * its bytes tell which is right; a layer that cannot be read stays as each describes it.
 */
export async function agreedGraphs(caches: readonly Cache[], signal: AbortSignal | undefined): Promise<Graph[]> {
  const proofs = new Map<Digest, Proof>();
  for (const [digest, sizes] of disputed(caches)) {
    for (const cache of caches.filter(({ graph }) => graph.descriptors.has(digest))) {
      const proof = await proofOf(cache, digest, sizes, signal);
      if (proof !== undefined) proofs.set(digest, proof);
    }
  }
  return caches.map(({ graph }) => correctedGraph(graph, proofs));
}

async function proofOf(
  cache: Cache,
  digest: Digest,
  sizes: readonly number[],
  signal: AbortSignal | undefined,
): Promise<Proof | undefined> {
  for (const size of sizes) {
    try {
      const content = cache.blob({ digest, size });
      return await prove(content, { digest, sizes: [size], layer: 'whole', where: cache.name, signal });
    } catch (error) {
      if (!(error instanceof CacheError) || error.code !== 'CORRUPT') throw error;
    }
  }
  return undefined;
}

/** The layers that are described in more than one way, and the sizes that they are said to have. */
function disputed(caches: readonly Cache[]): Map<Digest, readonly number[]> {
  const said = new Map<Digest, Map<string, number>>();
  for (const { graph } of caches) {
    for (const [digest, layer] of graph.descriptors) {
      const ways = said.get(digest) ?? new Map<string, number>();
      said.set(digest, ways.set(wordsOf(layer), layer.size));
    }
  }
  const sizes = [...said].filter(([, ways]) => ways.size > 1);
  return new Map(sizes.map(([digest, ways]) => [digest, [...new Set(ways.values())].toSorted((a, b) => a - b)]));
}

function wordsOf({ size, mediaType, annotations }: Descriptor): string {
  return JSON.stringify([size, mediaType, annotations?.[UNCOMPRESSED], annotations?.[ESTARGZ_TOC_DIGEST]]);
}

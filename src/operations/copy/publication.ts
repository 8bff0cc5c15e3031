import type { Publication } from '../../backend/backend.js';
import type { Graph } from '../../graph/graph.js';
import { replaceBlobs } from '../../graph/replace.js';
import { smallest } from '../../graph/smallest.js';
import { rewriting } from '../../layout/blobs/lost-blobs.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { Export } from './export.js';
import { type BlobPlan, corrections, tarsOf } from './plan.js';
import { transfer } from './transfer.js';

/** A graph to be published, with the documents of its cache where nothing has changed. */
export function publicationOf(graph: Graph, { cache, request: { shape } }: Export): Publication {
  const isUnchanged = graph === cache.graph && cache.saved?.shape === shape;
  return { graph, shape, saved: isUnchanged ? cache.saved : undefined, fields: cache.saved?.fields };
}

/**
 * Refuses, before any layer is moved, what the target would refuse to publish. What conversions come to is not known yet:
 * a lower bound of that is checked.
 *
 * @throws CacheError FAILED
 */
export function check(graph: Graph, plans: readonly BlobPlan[], job: Export): void {
  const converts = plans.some(({ action }) => action === 'convert');
  job.target.check?.(
    converts
      ? { graph: smallest(graph, tarsOf(plans)), shape: job.request.shape, saved: undefined }
      : publicationOf(replaceBlobs(graph, corrections(plans)), job),
  );
}

/**
 * Publishes a cache whose blobs are at the target. Blobs that another process has deleted in the meantime are transferred again.
 *
 * @param replacements - the blobs that the transfer made of others
 */
export async function publish(
  publication: Publication,
  plans: readonly BlobPlan[],
  replacements: ReadonlyMap<Digest, Descriptor>,
  job: Export,
): Promise<Descriptor> {
  const { target, options } = job;
  return rewriting(async (lost) => {
    const again = plans.filter(({ blob }) => lost.has(replacements.get(blob.digest)?.digest ?? blob.digest));
    if (again.length > 0) await transfer(again, { ...job, options: { ...options, onProgress: undefined } });
    return target.publish(publication, options.signal);
  });
}

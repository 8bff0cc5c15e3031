import type { Publication } from '../../backend/backend.js';
import { isNonDistributable, layerEncoding } from '../../oci/media-types.js';
import type { BlobPlan } from './plan.js';

/** What to say of foreign layers that no import has; undefined where there are none. */
export function foreignNote(plans: readonly BlobPlan[]): string | undefined {
  const count = plans.filter(({ action }) => action === 'leave').length;
  if (count === 0) return undefined;
  return count === 1
    ? 'a foreign layer is in none of the imports and stays out of the copy: a build that needs it fails'
    : `${count} foreign layers are in none of the imports and stay out of the copy: a build that needs one fails`;
}

/**
 * What to say of a new Docker list with zstd layers; undefined for anything else. Docker's media type for zstd came to
 * BuildKit's importer late (util/compression, fromMediaType).
 */
export function dockerZstdNote({ graph, shape, saved }: Publication, target: string): string | undefined {
  if (shape !== 'docker-list' || saved !== undefined) return undefined;
  const types = [...graph.descriptors.values()].map(({ mediaType }) => mediaType);
  if (!types.some((type) => layerEncoding(type) === 'zstd' && !isNonDistributable(type))) return undefined;
  return `${target} has zstd layers with Docker's media types, which BuildKit reads since 0.19: oci-mediatypes=true is for older ones`;
}

import type { Publication } from '../../backend/backend.js';
import type { OnNote } from '../../buildkit/options.js';
import { isNonDistributable, layerEncoding } from '../../oci/media-types.js';
import type { BlobPlan } from './plan.js';

/** Says how many foreign layers no import has, where there are some. */
export function noteForeign(plans: readonly BlobPlan[], onNote: OnNote | undefined): void {
  const count = plans.filter(({ action }) => action === 'leave').length;
  if (count === 0) return;
  onNote?.(
    count === 1
      ? 'a foreign layer is in none of the imports and stays out of the copy: a build that needs it fails'
      : `${count} foreign layers are in none of the imports and stay out of the copy: a build that needs one fails`,
  );
}

/**
 * Says that a new Docker list has zstd layers. Docker's media type for zstd came to BuildKit's importer late
 * (util/compression, fromMediaType).
 */
export function noteDockerZstd({ graph, shape, saved }: Publication, target: string, onNote: OnNote | undefined): void {
  if (shape !== 'docker-list' || saved !== undefined) return;
  const types = [...graph.descriptors.values()].map(({ mediaType }) => mediaType);
  if (!types.some((type) => layerEncoding(type) === 'zstd' && !isNonDistributable(type))) return;
  onNote?.(
    `${target} has zstd layers with Docker's media types, which BuildKit reads since 0.19: oci-mediatypes=true is for older ones`,
  );
}

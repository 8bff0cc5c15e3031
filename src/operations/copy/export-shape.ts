import { type CacheOptions, flag } from '../../buildkit/options.js';
import type { Shape } from '../../graph/save.js';

/**
 * The shape that an export has: what image-manifest= and oci-mediatypes= name, the source's where they are silent, and
 * that of BuildKit where there is no one source (cache/remotecache/local/local.go). Only OCI's media types have image
 * manifests. A Docker list with image-manifest=false alone stays one, though BuildKit's defaults would make an OCI index
 * of it: nobody has named the media types.
 *
 * @param source - the shape of what is copied; undefined where it has none, or there are several sources
 * @returns undefined for caches without a manifest of their own
 */
export function exportShape(options: CacheOptions, source: Shape | undefined): Shape | undefined {
  if (options.type === 'inline') return undefined;
  const asked = flag(options, 'image-manifest');
  const oci = flag(options, 'oci-mediatypes') ?? (asked === true || source !== 'docker-list');
  if (oci) return (asked ?? (source === undefined || source === 'image-manifest')) ? 'image-manifest' : 'index';
  return 'docker-list';
}

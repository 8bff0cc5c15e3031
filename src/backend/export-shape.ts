import { type CacheOptions, compressionOf, flag } from '../buildkit/options.js';
import { CacheError } from '../errors.js';
import type { Shape } from '../graph/save.js';

/**
 * The shape that an export has: what image-manifest= and oci-mediatypes= name, the source's where they are silent, and
 * that of BuildKit where there is no one source (cache/remotecache/local/local.go). Only OCI's media types have image
 * manifests.
 *
 * @param source - the shape of what is copied; undefined where it has none, or there are several sources
 * @returns undefined for caches without a manifest of their own
 * @throws CacheError USAGE for a compression that has no media type in that shape
 */
export function exportShape(options: CacheOptions, source: Shape | undefined): Shape | undefined {
  if (options.type === 'inline') return undefined;
  const asked = flag(options, 'image-manifest');
  const oci = flag(options, 'oci-mediatypes') ?? (asked === true || source !== 'docker-list');
  if (oci) return (asked ?? (source === undefined || source === 'image-manifest')) ? 'image-manifest' : 'index';
  const { compression } = compressionOf(options);
  if (compression === 'zstd' || compression === 'estargz') {
    throw new CacheError('USAGE', `the import has Docker media types, and those know no ${compression}`, {
      hint: 'add oci-mediatypes=true to the export',
      side: 'export',
    });
  }
  return 'docker-list';
}

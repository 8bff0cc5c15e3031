import { type CacheOptions, shownOptions } from '../../../buildkit/options.js';
import { type Finding, quoted, type Remedy } from '../../finding.js';

/** What frees the blobs of a bucket. */
export const FREED_BY =
  '"bkcache gc --manifests-prefix …" frees blobs, or rules of the bucket do: see docs/object-stores.md';

/**
 * What can be done about a finding in a bucket: repair sends good bytes, or leaves out the results that need bad ones.
 *
 * @param options - those that lead to the bucket
 */
export function bucketRemedy({ severity, kind, wrong, effect, hint }: Finding, options: CacheOptions): Remedy {
  const { name: _, ...attributes } = options.attributes;
  const repair = (more = '') => ({
    repair: `bkcache repair${more} ${quoted(shownOptions({ ...options, attributes }))}`,
  });
  if (kind === 'ends') return repair();
  if (kind === 'unused') return { hint: FREED_BY };
  if (wrong === 'padding') return repair(' --deep');
  if (severity === 'note' || (kind === 'damaged' && wrong === 'limit')) return {};
  if (kind === 'missing' || kind === 'damaged') return repair(' --from OPTS');
  if (hint !== undefined) return {};
  if (kind === 'document' && (wrong === 'missing' || effect === 'import-refused'))
    return { hint: 'export the cache again' };
  return wrong === 'diffID' && effect !== 'results-vanish' ? repair(' --deep') : repair();
}

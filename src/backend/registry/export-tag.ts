import { CacheError } from '../../errors.js';
import { parseReference } from '../../oci/reference.js';

/**
 * The tag that an export writes.
 *
 * @throws CacheError USAGE for a reference with a digest, which names fixed bytes
 */
export function exportTag(ref: string): string {
  const { tag = 'latest', digest } = parseReference(ref);
  if (digest === undefined) return tag;
  throw new CacheError('USAGE', `nothing can be exported to a digest, ${digest}`, {
    hint: 'name a tag: ref=registry.example.com/team/cache:tag',
    side: 'export',
  });
}

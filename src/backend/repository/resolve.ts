import { CacheError } from '../../errors.js';
import { findTag, type LayoutIndex, namesOf } from '../../layout/index/index-json.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { decodeManifest } from '../../oci/manifest.js';

/**
 * The entry of an index.json for a tag.
 *
 * @param place - the folder or bundle of the index, for messages
 * @throws CacheError NOT_FOUND, with a hint that lists the tags
 */
export function resolveTag(place: string, index: LayoutIndex, tag: string): Descriptor {
  const found = findTag(index, tag);
  if (found !== undefined) return found;
  const tags = [...new Set(index.manifests.flatMap(namesOf))];
  throw new CacheError('NOT_FOUND', `${place} has no tag ${JSON.stringify(tag)}`, {
    hint: tags.length === 0 ? 'it has no tags at all' : `its tags are: ${tags.join(', ')}`,
  });
}

/**
 * The media type that a manifest has by its own bytes. A layer and a config have digests, too, and are no manifests.
 *
 * @throws CacheError NOT_FOUND
 */
export function mediaTypeOf(bytes: Uint8Array, place: string, digest: Digest): string {
  try {
    return decodeManifest(bytes, `${place}: ${digest}`).mediaType;
  } catch (cause) {
    throw notAManifest(place, digest, cause);
  }
}

/** The error for a digest that is not of a manifest. */
export function notAManifest(place: string, digest: Digest, cause?: unknown): CacheError {
  return new CacheError('NOT_FOUND', `${place} has a blob ${digest}, and it is no manifest`, {
    hint: `digest= takes that of a manifest; "bkcache list --json ${place}" has them`,
    cause,
  });
}

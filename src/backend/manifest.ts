import { CacheError } from '../errors.js';
import { readWhole } from '../oci/content.js';
import type { Descriptor } from '../oci/descriptor.js';
import { JSON_LIMIT } from '../oci/json.js';
import { decodeManifest, type Document, type Manifest } from '../oci/manifest.js';
import type { RepositoryReader } from './repository.js';

/** A manifest as its bytes and as what they say. Its descriptor has everything that was known of it before. */
export interface StoredManifest extends Document {
  readonly content: Manifest;
}

/**
 * Reads a manifest of any kind, verified.
 *
 * @throws CacheError CORRUPT
 */
export async function readManifest(
  repository: RepositoryReader,
  descriptor: Descriptor,
  signal?: AbortSignal,
): Promise<StoredManifest> {
  const limits = { limit: JSON_LIMIT, signal };
  const bytes = await readWhole(repository.manifest(descriptor), descriptor, repository.name, limits);
  const where = `${repository.name}: ${descriptor.digest}`;
  const content = decodeManifest(bytes, where);
  if (content.fault !== undefined) {
    throw new CacheError('CORRUPT', `${where} contradicts itself: ${content.fault}`, {
      hint: 'BuildKit refuses this cache too; export it anew',
    });
  }
  return { descriptor: { ...descriptor, mediaType: content.mediaType }, bytes, content };
}

import { CacheError } from '../../errors.js';
import { readDocument } from '../../oci/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { JSON_LIMIT } from '../../oci/json.js';
import type { Document } from '../../oci/document.js';
import { decodeManifest, type Manifest } from '../../oci/manifest.js';
import type { DocumentReader } from './repository.js';

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
  repository: Pick<DocumentReader, 'name' | 'manifest'>,
  descriptor: Descriptor,
  signal?: AbortSignal,
): Promise<StoredManifest> {
  const limits = { limit: JSON_LIMIT, signal };
  // BuildKit goes by the digest, whatever size something says that the manifest has.
  const bytes = await readDocument(repository.manifest(descriptor), descriptor.digest, repository.name, limits);
  const where = `${repository.name}: ${descriptor.digest}`;
  const content = decodeManifest(bytes, where);
  if (content.fault !== undefined) {
    throw new CacheError('CORRUPT', `${where} contradicts itself: ${content.fault}`, {
      hint: 'BuildKit refuses this cache too; export it again',
    });
  }
  return { descriptor: { ...descriptor, mediaType: content.mediaType, size: bytes.length }, bytes, content };
}

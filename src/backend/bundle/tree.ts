import { readDocument } from '../../oci/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { JSON_LIMIT } from '../../oci/json.js';
import { isImageConfig } from '../../oci/image.js';
import { decodeManifest } from '../../oci/manifest.js';
import type { Document } from '../../oci/document.js';
import { isManifestType } from '../../oci/media-types.js';
import { contentsOf } from '../../oci/successors.js';
import type { DocumentReader } from '../repository/repository.js';

/** Everything below some manifests, each blob once, in the order in which a reader needs it. */
export interface Tree {
  /** Manifests and configs; a manifest is before what it names. */
  readonly documents: readonly Document[];
  /** The configs of images, with the layers of each, the lowest first. */
  readonly images: readonly { readonly config: Document; readonly layers: readonly Descriptor[] }[];
  /** Layers, and whatever else a manifest lists. */
  readonly layers: readonly Descriptor[];
}

/**
 * Walks caches and images from their manifests to their layers. It reads documents only.
 *
 * @param tops - the manifests
 * @throws CacheError CORRUPT for a document that is missing or damaged
 */
export async function treeOf(
  reader: DocumentReader,
  tops: readonly Descriptor[],
  signal: AbortSignal | undefined,
): Promise<Tree> {
  const documents = new Map<Digest, Document>();
  const layers = new Map<Digest, Descriptor>();
  const images: Tree['images'][number][] = [];
  const add = async (descriptor: Descriptor, isManifest: boolean) => {
    if (documents.has(descriptor.digest)) return undefined;
    const content = isManifest ? reader.manifest(descriptor) : reader.blob(descriptor);
    const bytes = await readDocument(content, descriptor.digest, reader.name, { limit: JSON_LIMIT, signal });
    documents.set(descriptor.digest, { descriptor: { ...descriptor, size: bytes.length }, bytes });
    return bytes;
  };
  const open = [...tops];
  for (let top = open.shift(); top !== undefined; top = open.shift()) {
    const bytes = await add(top, true);
    if (bytes === undefined) continue;
    const contents = contentsOf(decodeManifest(bytes, `${reader.name}: ${top.digest}`));
    if (contents.kind === 'index') {
      const isManifest = ({ mediaType }: Descriptor) => isManifestType(mediaType);
      open.unshift(...contents.manifests.filter(isManifest));
      for (const other of contents.manifests) if (!isManifest(other)) layers.set(other.digest, other);
      continue;
    }
    const config = await add(contents.config, false);
    if (config !== undefined && isImageConfig(contents.config)) {
      images.push({ config: { descriptor: contents.config, bytes: config }, layers: contents.layers });
    }
    for (const layer of contents.layers) layers.set(layer.digest, layers.get(layer.digest) ?? layer);
  }
  return {
    images,
    documents: [...documents.values()],
    layers: [...layers.values()].filter(({ digest }) => !documents.has(digest)),
  };
}

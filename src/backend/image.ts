import { CacheError, type Side } from '../errors.js';
import { describeLayers } from '../graph/inline.js';
import { readWhole } from '../oci/content.js';
import type { Descriptor } from '../oci/descriptor.js';
import { decodeImageConfig, type ImageConfig, isAttestation, isImageConfig } from '../oci/image.js';
import { JSON_LIMIT } from '../oci/json.js';
import type { Document, ImageManifest } from '../oci/manifest.js';
import { isImageType } from '../oci/media-types.js';
import { readManifest, type StoredManifest } from './manifest.js';
import type { RepositoryReader } from './repository.js';

/** An image for one platform, its layers aside. */
export interface Image {
  readonly kind: 'image';
  readonly manifest: Document;
  readonly config: Document;
  readonly content: ImageConfig;
  /** With the annotations that a cache's layers have, the lowest first. */
  readonly layers: readonly Descriptor[];
  /** Why BuildKit would not look for a cache in it. */
  readonly fault: string | undefined;
}

/** Images for several platforms. What else is in the index, such as attestations, is not read. */
export interface Images {
  readonly kind: 'index';
  readonly manifest: Document;
  /** All that the index lists. */
  readonly listed: readonly Descriptor[];
  /** Its images, by their places in that list. */
  readonly entries: readonly { readonly position: number; readonly content: Image | Images }[];
}

/**
 * The image, or the images, behind a manifest.
 *
 * @returns undefined when it is the manifest of something else
 * @throws CacheError CORRUPT
 */
export async function readImage(
  repository: RepositoryReader,
  manifest: StoredManifest,
  signal?: AbortSignal,
): Promise<Image | Images | undefined> {
  return manifest.content.kind === 'index'
    ? readIndex(repository, manifest, manifest.content.manifests, signal)
    : readOne(repository, manifest, manifest.content, signal);
}

async function readIndex(
  repository: RepositoryReader,
  manifest: Document,
  listed: readonly Descriptor[],
  signal?: AbortSignal,
): Promise<Images | undefined> {
  const read = async (entry: Descriptor, position: number): Promise<Images['entries']> => {
    if (!isImageType(entry.mediaType) || isAttestation(entry)) return [];
    const content = await readImage(repository, await readManifest(repository, entry, signal), signal);
    return content === undefined ? [] : [{ position, content }];
  };
  const entries = (await Promise.all(listed.map(read))).flat();
  return entries.length === 0 ? undefined : { kind: 'index', manifest, listed, entries };
}

async function readOne(
  repository: RepositoryReader,
  manifest: Document,
  { config, layers }: ImageManifest,
  signal?: AbortSignal,
): Promise<Image | undefined> {
  if (!isImageConfig(config)) return undefined;
  const bytes = await readWhole(repository.blob(config), config, repository.name, { limit: JSON_LIMIT, signal });
  const content = decodeImageConfig(bytes, `${repository.name}: ${config.digest}`);
  return {
    kind: 'image',
    manifest,
    config: { descriptor: config, bytes },
    content,
    layers: describeLayers(layers, content),
    fault: faultOf(layers.length, content.diffIDs.length),
  };
}

/** cache/remotecache/import.go, importInlineCache. */
function faultOf(layers: number, diffIDs: number): string | undefined {
  if (layers === 0) return 'it has no layers';
  return layers === diffIDs ? undefined : `its manifest has ${layers} layers and its config ${diffIDs}`;
}

/** The images of all platforms, each once. */
export function imagesIn(content: Image | Images): Image[] {
  const all = content.kind === 'image' ? [content] : content.entries.flatMap((entry) => imagesIn(entry.content));
  return [...new Map(all.map((image) => [image.manifest.descriptor.digest, image])).values()];
}

/** The error for a manifest that is neither a cache nor an image. */
export function notAnImage(where: string, side: Side): CacheError {
  return new CacheError('NOT_FOUND', `${where} is neither a build cache nor an image`, { side });
}

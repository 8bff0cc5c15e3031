import { CacheError, type Side } from '../../errors.js';
import { describeLayers } from '../../graph/inline.js';
import { dependenciesFirst } from '../../graph/order.js';
import { readDocument } from '../../oci/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { decodeImageConfig, historyFault, type ImageConfig, isImageConfig } from '../../oci/image.js';
import { JSON_LIMIT } from '../../oci/json.js';
import type { Document } from '../../oci/document.js';
import { isImageType } from '../../oci/media-types.js';
import { contentsOf, isAttestation } from '../../oci/successors.js';
import { parallel } from '../../bytes/parallel.js';
import { readManifest, type StoredManifest } from '../repository/manifest.js';
import type { DocumentReader } from '../repository/repository.js';

/** An image for one platform: its documents, without the bytes of its layers. */
export interface Image {
  readonly kind: 'image';
  readonly manifest: Document;
  readonly config: Document;
  readonly content: ImageConfig;
  /** The layers with the annotations of a cache's layers, the lowest first. */
  readonly layers: readonly Descriptor[];
  /** Why BuildKit ignores a cache in this image; undefined when it does not. */
  readonly fault: string | undefined;
  /** Why BuildKit's daemon would exit when it imports a cache from this image; undefined when it would not. */
  readonly danger: string | undefined;
}

/** An index of images for several platforms. Other entries, such as attestations, are not read. */
export interface IndexNode {
  readonly kind: 'index';
  readonly manifest: Document;
  /** All entries of the index. */
  readonly listed: readonly Descriptor[];
}

/** A manifest and the images that it leads to. */
export interface ImageTree {
  readonly manifest: Document;
  /** Each image and index once, after all that it lists; the manifest itself is the last. */
  readonly members: readonly (Image | IndexNode)[];
}

/** The part of a repository that images are read from. */
export type ImageReader = Pick<DocumentReader, 'name' | 'concurrency' | 'manifest' | 'blob'>;

/** Parallel requests for a repository without a concurrency of its own. */
const AT_ONCE = 4;

/**
 * Reads the images that a manifest leads to. Each document is read once.
 *
 * @returns undefined for a manifest that leads to no image
 * @throws CacheError CORRUPT
 */
export async function readImages(
  repository: ImageReader,
  manifest: StoredManifest,
  signal?: AbortSignal,
): Promise<ImageTree | undefined> {
  const manifests = await manifestsBelow(repository, manifest, signal);
  const images = new Map<Digest, Image | undefined>();
  await parallel([...manifests.values()], limitOf(repository), signal, async (stored, inner) => {
    images.set(stored.descriptor.digest, await readOne(repository, stored, inner));
  });
  const all = [...manifests.values()];
  const places = new Map(all.map(({ descriptor }, place) => [descriptor.digest, place]));
  const { order } = dependenciesFirst(all.length, (place) => {
    return listedIn(all[place]).flatMap(({ digest }) => places.get(digest) ?? []);
  });
  const members = new Map<Digest, Image | IndexNode>();
  for (const place of order) {
    const stored = all[place];
    if (stored === undefined) continue;
    const { digest } = stored.descriptor;
    const listed = listedIn(stored);
    // An index that lists only attestations and artifacts leads to no image.
    const isIndex = listed.some((entry) => members.has(entry.digest));
    const member = isIndex ? ({ kind: 'index', manifest: documentIn(stored), listed } as const) : images.get(digest);
    if (member !== undefined) members.set(digest, member);
  }
  if (!members.has(manifest.descriptor.digest)) return undefined;
  return { manifest, members: [...members.values()] };
}

/** The images of all platforms. */
export function imagesIn({ members }: ImageTree): Image[] {
  return members.filter((member) => member.kind === 'image');
}

/** A manifest, and all manifests that it lists, directly or indirectly. */
async function manifestsBelow(
  repository: ImageReader,
  manifest: StoredManifest,
  signal: AbortSignal | undefined,
): Promise<Map<Digest, StoredManifest>> {
  const found = new Map([[manifest.descriptor.digest, manifest]]);
  const asked = new Set(found.keys());
  let level: readonly StoredManifest[] = [manifest];
  while (level.length > 0) {
    const below = new Map<Digest, Descriptor>();
    for (const entry of level.flatMap(listedIn)) {
      if (isImageType(entry.mediaType) && !isAttestation(entry) && !asked.has(entry.digest)) {
        asked.add(entry.digest);
        below.set(entry.digest, entry);
      }
    }
    const read: StoredManifest[] = [];
    await parallel([...[...below.values()].entries()], limitOf(repository), signal, async ([place, entry], inner) => {
      read[place] = await readManifest(repository, entry, inner);
    });
    for (const stored of read) found.set(stored.descriptor.digest, stored);
    level = read;
  }
  return found;
}

function listedIn(stored: StoredManifest | undefined): readonly Descriptor[] {
  const contents = stored && contentsOf(stored.content);
  return contents?.kind === 'index' ? contents.manifests : [];
}

function documentIn({ descriptor, bytes }: StoredManifest): Document {
  return { descriptor, bytes };
}

function limitOf({ concurrency }: ImageReader): number {
  return concurrency ?? AT_ONCE;
}

async function readOne(
  repository: ImageReader,
  stored: StoredManifest,
  signal?: AbortSignal,
): Promise<Image | undefined> {
  const contents = contentsOf(stored.content);
  if (contents.kind !== 'image' || !isImageConfig(contents.config)) return undefined;
  const { config, layers } = contents;
  const limits = { limit: JSON_LIMIT, signal };
  const bytes = await readDocument(repository.blob(config), config.digest, repository.name, limits);
  const content = decodeImageConfig(bytes, `${repository.name}: ${config.digest}`);
  const fault = layerCountFault(layers.length, content.diffIDs.length);
  return {
    kind: 'image',
    manifest: documentIn(stored),
    config: { descriptor: config, bytes },
    content,
    layers: describeLayers(layers, content),
    fault,
    danger: fault === undefined ? historyFault(content.history.length, layers.length) : undefined,
  };
}

/** cache/remotecache/import.go, importInlineCache. */
function layerCountFault(layers: number, diffIDs: number): string | undefined {
  if (layers === 0) return 'it has no layers';
  return layers === diffIDs ? undefined : `its manifest has ${layers} layers and its config ${diffIDs}`;
}

/** The error for a manifest that is neither a cache nor an image. */
export function notAnImage(where: string, side: Side): CacheError {
  return new CacheError('NOT_FOUND', `${where} is neither a build cache nor an image`, { side });
}

import { encodeRecords } from '../../buildkit/cache-config.js';
import { CacheError } from '../../errors.js';
import type { Graph } from '../../graph/graph.js';
import { recordsByFit, graphForImage, toInline } from '../../graph/inline.js';
import { merge } from '../../graph/merge.js';
import { contentOf } from '../../oci/content.js';
import type { Digest } from '../../oci/digest.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { topOf } from '../../oci/document.js';
import { INLINE_CACHE } from '../../oci/image.js';
import { isManifestType } from '../../oci/media-types.js';
import { contentsOf } from '../../oci/successors.js';
import type { CacheTarget, ImageFit } from '../backend.js';
import { type Image, imagesIn, notAnImage, readImages } from './image.js';
import { historyEdits, missingHistory } from './inline-history.js';
import { dataOf, type ImageChange, rewriteImages } from './inline-rewrite.js';
import { readManifest } from '../repository/manifest.js';
import type { Repository } from '../repository/repository.js';

/**
 * A target that writes a cache into the config of an existing image. The image keeps its layers: the cache is first reduced
 * to the results that consist of them, and then each platform gets a new config and manifest.
 *
 * @throws CacheError NOT_FOUND when there is no such image
 */
export async function inlineTarget(repository: Repository, tag: string, signal?: AbortSignal): Promise<CacheTarget> {
  const found = await repository.resolve({ tag }, signal);
  const where = `${repository.name}: ${tag}`;
  const manifest = await readManifest(repository, found, signal);
  if (contentsOf(manifest.content).kind === 'cache') {
    throw new CacheError('NOT_FOUND', `${where} is a build cache and not an image`, {
      hint: 'type=inline writes a cache into an image; type=local and type=registry write a cache without an image',
    });
  }
  const content = await readImages(repository, manifest, signal);
  if (content === undefined) throw notAnImage(where, 'export');
  return {
    name: repository.name,
    select: (graph) => selectFor(imagesIn(content), graph, where),
    present: (blobs, inner) => repository.present(blobs, inner),
    write: (bytes, expected, inner) => repository.write(bytes, expected, inner),
    async publish({ graph }, inner) {
      const changed = rewriteImages(content, (image) => withCache(image, graph));
      if (changed === undefined) return bareDescriptor(manifest.descriptor);
      const top = topOf(changed);
      for (const document of changed) {
        const { bytes, descriptor } = document;
        if (document === top) await refuseMoved(repository, tag, [found.digest, descriptor.digest], inner);
        else if (isManifestType(descriptor.mediaType)) await repository.publish(document, undefined, inner);
        else await repository.write(contentOf(bytes), descriptor, inner);
      }
      // The annotations of the image's entry in index.json stay.
      const descriptor = { ...found, ...top.descriptor, ...dataOf(found, top) };
      await repository.publish({ ...top, descriptor }, tag, inner);
      return top.descriptor;
    },
    [Symbol.asyncDispose]: () => repository[Symbol.asyncDispose](),
  };
}

function selectFor(
  images: readonly Image[],
  graph: Graph,
  where: string,
): { graph: Graph; images: readonly ImageFit[] } {
  const fits = images.map((image): ImageFit => {
    const { platform } = image.content;
    const { fitting, others } = recordsByFit(graph, image.layers);
    if (image.fault !== undefined) return { platform, fitting: [], others, fault: image.fault };
    const added = fitting.length > 0 || image.content.cache !== undefined ? missingHistory(image) : 0;
    return { platform, fitting, others, ...(added === 0 ? {} : { addedHistory: added }) };
  });
  if (fits.every(({ fitting }) => fitting.length === 0)) throw nothingFits(where, fits);
  const parts = images.filter((image) => image.fault === undefined).map(({ layers }) => graphForImage(graph, layers));
  return { graph: merge(parts), images: fits };
}

function nothingFits(where: string, fits: readonly ImageFit[]): CacheError {
  const [only] = fits;
  if (only?.fault !== undefined && fits.length === 1) {
    return new CacheError('FAILED', `${where} cannot hold a cache: ${only.fault}, and BuildKit ignores such an image`, {
      hint: 'build the image again',
      side: 'export',
    });
  }
  return new CacheError('FAILED', `nothing in the import consists of the layers of ${where}`, {
    hint: 'the cache has to come from the build that made this image; layers of compression=estargz differ from it too',
    side: 'export',
  });
}

/** The edit that writes a cache into an image. An image keeps its cache if no record fits the image. */
function withCache(image: Image, graph: Graph): ImageChange | undefined {
  if (image.fault !== undefined) return undefined;
  const records = toInline(graph, image.layers);
  if (records.length === 0 && image.content.cache === undefined) return undefined;
  const value = encodeRecords(records).toString('base64');
  return { config: [...historyEdits(image), ...(records.length === 0 ? [] : [{ path: [INLINE_CACHE], value }])] };
}

/** Refuses to overwrite a tag that another build has moved in the meantime. */
async function refuseMoved(
  repository: Repository,
  tag: string,
  known: readonly Digest[],
  signal?: AbortSignal,
): Promise<void> {
  const now = await repository.resolve({ tag }, signal);
  if (known.includes(now.digest)) return;
  throw new CacheError('BUSY', `${repository.name}: ${tag} is another image than it was when this copy began`, {
    hint: 'another push has moved the tag in the meantime; run the copy again',
    side: 'export',
  });
}

function bareDescriptor({ mediaType, digest, size }: Descriptor): Descriptor {
  return { mediaType, digest, size };
}

import { decodeRecords } from '../../buildkit/cache-config.js';
import { CacheError } from '../../errors.js';
import type { Graph } from '../../graph/graph.js';
import { fromInline } from '../../graph/inline.js';
import { merge } from '../../graph/merge.js';
import type { Cache } from '../backend.js';
import { type Image, imagesIn, notAnImage, readImages } from './image.js';
import type { StoredManifest } from '../repository/manifest.js';
import type { DocumentReader } from '../repository/repository.js';

/**
 * The cache inside an image: the caches of all its platforms, merged.
 *
 * @throws CacheError NOT_FOUND when no platform has a cache, CORRUPT
 */
export async function loadInlineCache(
  repository: DocumentReader,
  manifest: StoredManifest,
  signal?: AbortSignal,
): Promise<Cache> {
  const where = `${repository.name}: ${manifest.descriptor.digest}`;
  const content = await readImages(repository, manifest, signal);
  if (content === undefined) throw notAnImage(where, 'import');
  const images = imagesIn(content);
  const caches = images.flatMap((image) => {
    const graph = graphIn(repository.name, image);
    return graph === undefined ? [] : [{ image, graph }];
  });
  if (caches.length === 0) throw noCache(where, images);
  return {
    name: repository.name,
    concurrency: repository.concurrency,
    graph: merge(caches.map(({ graph }) => graph)),
    danger: images.find(({ content: { cache }, danger }) => cache !== undefined && danger !== undefined)?.danger,
    platforms: caches.map(({ image }) => image.content.platform),
    blob: (blob) => repository.blob(blob),
  };
}

/** The graph of an image's cache. BuildKit ignores an image whose manifest and config disagree. */
function graphIn(name: string, { config, content, layers, fault }: Image): Graph | undefined {
  if (content.cache === undefined || fault !== undefined) return undefined;
  const where = `${name}: ${config.descriptor.digest}`;
  return fromInline(layers, decodeRecords(content.cache, where), where);
}

function noCache(where: string, images: readonly Image[]): CacheError {
  const faulty = images.find(({ content, fault }) => content.cache !== undefined && fault !== undefined);
  if (faulty !== undefined) {
    return new CacheError('NOT_FOUND', `${where} is an image whose cache BuildKit ignores: ${faulty.fault}`, {
      hint: 'a tool changed either the config or the manifest of this image, and not both; build the image again',
      side: 'import',
    });
  }
  return new CacheError('NOT_FOUND', `${where} is an image without a build cache in it`, {
    hint: 'build it with --cache-to type=inline, or put a cache into it: bkcache copy --export-cache type=inline,…',
    side: 'import',
  });
}

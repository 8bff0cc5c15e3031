import { loadGraph } from '../../graph/load.js';
import { saveGraph, type SavedCache, shapeOf } from '../../graph/save.js';
import { readDocument } from '../../oci/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { JSON_LIMIT } from '../../oci/json.js';
import { contentsOf } from '../../oci/successors.js';
import type { Cache } from '../backend.js';
import { loadInlineCache } from '../inline/inline-source.js';
import { readManifest, type StoredManifest } from './manifest.js';
import type { DocumentReader } from './repository.js';

/**
 * The cache that a manifest describes, or that is inside the image which it describes.
 *
 * @throws CacheError NOT_FOUND when there is none, CORRUPT
 */
export async function loadCache(
  repository: DocumentReader,
  descriptor: Descriptor,
  signal?: AbortSignal,
): Promise<Cache> {
  return cacheIn(repository, await readManifest(repository, descriptor, signal), signal);
}

/** The same for a manifest that was read. */
export async function cacheIn(
  repository: DocumentReader,
  manifest: StoredManifest,
  signal?: AbortSignal,
): Promise<Cache> {
  const contents = contentsOf(manifest.content);
  if (contents.kind !== 'cache') return loadInlineCache(repository, manifest, signal);
  const { config, layers } = contents;
  // BuildKit goes by the digest, whatever size the manifest says that the config has.
  const limits = { limit: JSON_LIMIT, signal };
  const bytes = await readDocument(repository.blob(config), config.digest, repository.name, limits);
  const { mediaType, fields } = manifest.content;
  const { digest, size } = manifest.descriptor;
  const graph = loadGraph(layers, bytes, `${repository.name}: ${config.digest}`);
  const shape = shapeOf(mediaType);
  const saved: SavedCache = {
    documents: [
      { descriptor: config, bytes },
      { descriptor: { mediaType, digest, size }, bytes: manifest.bytes },
    ],
    shape,
    fields,
  };
  return {
    name: repository.name,
    concurrency: repository.concurrency,
    graph,
    // A manifest with a wrong size in it is written again by those who copy it.
    saved: config.size === bytes.length ? saved : saveGraph(graph, shape, fields),
    blob: (blob) => repository.blob(blob),
  };
}

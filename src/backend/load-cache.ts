import { configOf, loadGraph } from '../graph/load.js';
import { shapeOf } from '../graph/save.js';
import { readWhole } from '../oci/content.js';
import type { Descriptor } from '../oci/descriptor.js';
import { JSON_LIMIT } from '../oci/json.js';
import type { Cache } from './backend.js';
import { loadInlineCache } from './inline-source.js';
import { readManifest } from './manifest.js';
import type { RepositoryReader } from './repository.js';

/**
 * The cache that a manifest describes, or that is inside the image which it describes.
 *
 * @throws CacheError NOT_FOUND when there is none, CORRUPT
 */
export async function loadCache(
  repository: RepositoryReader,
  descriptor: Descriptor,
  signal?: AbortSignal,
): Promise<Cache> {
  const manifest = await readManifest(repository, descriptor, signal);
  const config = configOf(manifest.content);
  if (config === undefined) return loadInlineCache(repository, manifest, signal);
  const bytes = await readWhole(repository.blob(config), config, repository.name, { limit: JSON_LIMIT, signal });
  const { mediaType } = manifest.content;
  const { digest, size } = descriptor;
  return {
    name: repository.name,
    concurrency: repository.concurrency,
    graph: loadGraph(manifest.content, bytes, `${repository.name}: ${config.digest}`),
    saved: {
      shape: shapeOf(mediaType),
      manifest: { descriptor: { mediaType, digest, size }, bytes: manifest.bytes },
      config: { descriptor: config, bytes },
      fields: manifest.content.fields,
    },
    blob: (blob) => repository.blob(blob),
  };
}

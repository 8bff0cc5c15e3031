import { CacheError } from '../errors.js';
import { configOf, loadGraph } from '../graph/load.js';
import { shapeOf } from '../graph/save.js';
import { readWhole } from '../oci/content.js';
import type { Descriptor } from '../oci/descriptor.js';
import { JSON_LIMIT } from '../oci/json.js';
import { decodeManifest } from '../oci/manifest.js';
import type { Cache, CacheSource } from './backend.js';
import type { Reference, RepositoryReader } from './repository.js';

/** The cache behind a tag or digest of a repository. */
export function repositorySource(
  name: string,
  open: () => Promise<RepositoryReader>,
  reference: Reference,
): CacheSource {
  return {
    name,
    async resolve(signal) {
      const repository = await open();
      const descriptor = await repository.resolve(reference, signal);
      await repository.used?.(reference, signal);
      return descriptor;
    },
    async load(signal) {
      const repository = await open();
      return loadCache(repository, await repository.resolve(reference, signal), signal);
    },
    async hold(signal) {
      const repository = await open();
      const { descriptor, release } = (await repository.hold?.(reference, signal)) ?? {
        descriptor: await repository.resolve(reference, signal),
        release: () => Promise.resolve(),
      };
      try {
        const cache = await loadCache(repository, descriptor, signal);
        await repository.used?.(reference, signal);
        return { cache, release };
      } catch (error) {
        await release();
        throw error;
      }
    },
  };
}

/**
 * The cache that a manifest describes.
 *
 * @throws CacheError NOT_FOUND when it describes something else, CORRUPT
 */
export async function loadCache(
  repository: RepositoryReader,
  descriptor: Descriptor,
  signal?: AbortSignal,
): Promise<Cache> {
  const limits = { limit: JSON_LIMIT, signal };
  const where = `${repository.name}: ${descriptor.digest}`;
  const bytes = await readWhole(repository.manifest(descriptor), descriptor, repository.name, limits);
  const manifest = decodeManifest(bytes, where);
  const config = configOf(manifest);
  if (config === undefined) {
    throw new CacheError('NOT_FOUND', `${where} is not a build cache but an image or artifact`, {
      hint: 'caches inside images (type=inline) cannot be read by this version',
    });
  }
  const configBytes = await readWhole(repository.blob(config), config, repository.name, limits);
  const { mediaType } = manifest;
  const { digest, size } = descriptor;
  return {
    name: repository.name,
    graph: loadGraph(manifest, configBytes, `${repository.name}: ${config.digest}`),
    saved: {
      shape: shapeOf(mediaType),
      manifest: { descriptor: { mediaType, digest, size }, bytes },
      config: { descriptor: config, bytes: configBytes },
    },
    blob: (blob) => repository.blob(blob),
  };
}

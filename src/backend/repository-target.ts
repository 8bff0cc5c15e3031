import { checkImportLimit } from '../buildkit/import-limit.js';
import { type CacheOptions, flag } from '../buildkit/options.js';
import { saveGraph, type Shape } from '../graph/save.js';
import { contentOf } from '../oci/content.js';
import type { CacheTarget } from './backend.js';
import type { Repository } from './repository.js';

export interface RepositoryTargetOptions {
  readonly tag: string | undefined;
  readonly shape: Shape | undefined;
  /** Write documents that BuildKit is known not to import. */
  readonly allowOversize: boolean;
}

/** A cache to be written under a tag of a repository: layers, then the config, then the manifest and its tag. */
export function repositoryTarget(
  repository: Repository,
  { tag, shape: asked, allowOversize }: RepositoryTargetOptions,
): CacheTarget {
  return {
    name: repository.name,
    shape: asked,
    has: (blob, signal) => repository.has(blob, signal),
    write: (content, expected, signal) => repository.write(content, expected, signal),
    async publish({ graph, shape, saved }, signal) {
      const { config, manifest } = saved ?? saveGraph(graph, shape);
      if (!allowOversize) {
        checkImportLimit('config', config.bytes.length);
        checkImportLimit('manifest', manifest.bytes.length);
      }
      if (!(await repository.has(config.descriptor, signal))) {
        await repository.write(contentOf(config.bytes), config.descriptor, signal);
      }
      await repository.publish(manifest, tag, signal);
      return manifest.descriptor;
    },
    close: () => repository.close(),
  };
}

/** The shape that image-manifest= and oci-mediatypes= name together (cache/remotecache/local/local.go). */
export function askedShape(options: CacheOptions): Shape | undefined {
  const imageManifest = flag(options, 'image-manifest');
  const oci = flag(options, 'oci-mediatypes');
  if (imageManifest === undefined && oci === undefined) return undefined;
  if (oci === false) return 'docker-list';
  return (imageManifest ?? true) ? 'image-manifest' : 'index';
}

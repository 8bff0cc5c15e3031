import { checkImportLimit } from '../buildkit/import-limit.js';
import { type CacheOptions, flag } from '../buildkit/options.js';
import { saveGraph, type Shape } from '../graph/save.js';
import { contentOf } from '../oci/content.js';
import type { CacheTarget, TargetSettings } from './backend.js';
import type { Repository } from './repository.js';

/** A cache to be written under a tag of a repository: layers, then the config, then the manifest and its tag. */
export function repositoryTarget(
  repository: Repository,
  tag: string,
  options: CacheOptions,
  { allowOversize }: TargetSettings,
): CacheTarget {
  return {
    name: repository.name,
    concurrency: repository.concurrency,
    shape: (source) => shapeFor(options, source),
    has: (blob, signal) => repository.has(blob, signal),
    write: (content, expected, signal) => repository.write(content, expected, signal),
    async publish({ graph, shape = 'image-manifest', saved }, signal) {
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

/**
 * The shape to write: what image-manifest= and oci-mediatypes= name, the source's where they are silent, and that of
 * BuildKit where there is no one source (cache/remotecache/local/local.go). Only OCI's media types have image manifests.
 */
function shapeFor(options: CacheOptions, source: Shape | undefined): Shape {
  const asked = flag(options, 'image-manifest');
  const oci = flag(options, 'oci-mediatypes') ?? (asked === true || source !== 'docker-list');
  if (!oci) return 'docker-list';
  return (asked ?? (source === undefined || source === 'image-manifest')) ? 'image-manifest' : 'index';
}

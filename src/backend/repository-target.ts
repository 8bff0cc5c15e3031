import { checkImportLimit } from '../buildkit/import-limit.js';
import { saveGraph } from '../graph/save.js';
import { contentOf } from '../oci/content.js';
import type { CacheTarget, TargetSettings } from './backend.js';
import type { Repository } from './repository.js';

/** A cache to be written under a tag of a repository: layers, then the config, then the manifest and its tag. */
export function repositoryTarget(repository: Repository, tag: string, { allowOversize }: TargetSettings): CacheTarget {
  return {
    name: repository.name,
    concurrency: repository.concurrency,
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

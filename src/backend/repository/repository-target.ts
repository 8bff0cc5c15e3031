import { checkImportLimit } from '../../buildkit/import-limit.js';
import { type SavedCache, saveGraph } from '../../graph/save.js';
import { contentOf } from '../../oci/content.js';
import type { CacheTarget, Publication, TargetSettings } from '../backend.js';
import type { Repository } from './repository.js';

/** A cache to be written under a tag of a repository: layers, then the config, then the manifest and its tag. */
export function repositoryTarget(repository: Repository, tag: string, { allowOversize }: TargetSettings): CacheTarget {
  return {
    name: repository.name,
    concurrency: repository.concurrency,
    present: (blobs, signal) => repository.present(blobs, signal),
    conversions: repository.conversions,
    write: (content, expected, signal) => repository.write(content, expected, signal),
    check(cache) {
      if (!allowOversize) checkSizes(documentsOf(cache));
    },
    async publish(cache, signal) {
      const { config, manifest } = documentsOf(cache);
      if (!allowOversize) checkSizes({ config, manifest });
      const present = await repository.present([config.descriptor], signal);
      if (!present.has(config.descriptor.digest)) {
        await repository.write(contentOf(config.bytes), config.descriptor, signal);
      }
      await repository.publish(manifest, tag, signal);
      return manifest.descriptor;
    },
    close: () => repository.close(),
  };
}

function documentsOf({ graph, shape = 'image-manifest', saved, fields }: Publication): SavedCache {
  return saved ?? saveGraph(graph, shape, fields);
}

function checkSizes({ config, manifest }: Pick<SavedCache, 'config' | 'manifest'>): void {
  checkImportLimit('config', config.bytes.length);
  checkImportLimit('manifest', manifest.bytes.length);
}

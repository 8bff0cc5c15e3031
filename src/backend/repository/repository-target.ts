import { checkImportLimit } from '../../buildkit/import-limit.js';
import { oversized, type SavedCache, saveGraph } from '../../graph/save.js';
import { contentOf } from '../../oci/content.js';
import { topOf } from '../../oci/document.js';
import { CACHE_CONFIG } from '../../oci/media-types.js';
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
      if (!allowOversize) checkSizes(savedOf(cache));
    },
    async publish(cache, signal) {
      const saved = savedOf(cache);
      if (!allowOversize) checkSizes(saved);
      const manifest = topOf(saved.documents);
      const others = saved.documents.slice(0, -1);
      const present = await repository.present(
        others.map(({ descriptor }) => descriptor),
        signal,
      );
      for (const { descriptor, bytes } of others) {
        if (!present.has(descriptor.digest)) await repository.write(contentOf(bytes), descriptor, signal);
      }
      await repository.publish(manifest, tag, signal);
      return manifest.descriptor;
    },
    [Symbol.asyncDispose]: () => repository[Symbol.asyncDispose](),
  };
}

function savedOf({ graph, shape = 'image-manifest', saved, fields }: Publication): SavedCache {
  return saved ?? saveGraph(graph, shape, fields);
}

function checkSizes(saved: SavedCache): void {
  for (const { descriptor, bytes } of oversized(saved)) {
    checkImportLimit(descriptor.mediaType === CACHE_CONFIG ? 'config' : 'manifest', bytes.length);
  }
}

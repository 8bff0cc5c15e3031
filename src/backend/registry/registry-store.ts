import { type CacheOptions, formatOptions } from '../../buildkit/options.js';
import { isTag, parseReference } from '../../oci/reference.js';
import type { CacheStore } from '../cache-store.js';
import { type Finding, quoted, type Remedy } from '../finding.js';
import { repositoryStore } from '../repository/repository-store.js';
import { deleteTags } from './delete-tags.js';
import type { RegistryPlace } from './registry-place.js';
import { registryRepository } from './registry-repository.js';

const FREES_ITSELF = 'a registry frees blobs itself: delete tags in it, and have it collect its garbage';

/**
 * A repository of a registry. It has tags and manifests, and no list of its blobs: what no tag needs is the registry's
 * own matter, and nothing that is sent replaces a blob.
 *
 * @param options - those that lead here, for the commands in findings
 */
export function registryStore(place: RegistryPlace, options: CacheOptions): CacheStore {
  const store = repositoryStore(registryRepository(place));
  return {
    ...store,
    isShared: true,
    remedy: (finding, target) => registryRemedy(finding, exportTo(options, finding, target)),
    remove: async (names, signal) => deleteTags(place, await store.entries(signal), names, signal),
    instead: {
      gc: FREES_ITSELF,
      prune: FREES_ITSELF,
      touch: 'rules of a registry go by tags: pull or push what has to stay, or except its tag from the rule',
      repair: 'copy the caches into a folder, run "bkcache repair" on that folder, and copy them back',
    },
  };
}

/** A blob that a registry does not have is simply sent; nothing that is sent replaces a blob that it has. */
function registryRemedy({ kind }: Finding, place: string): Remedy {
  switch (kind) {
    case 'ends':
      return {
        hint: 'copy it into a folder, run "bkcache repair" on that folder, and copy it back: repair joins the ends under one record',
      };
    case 'missing':
      return { repair: `bkcache copy --import-cache OPTS --export-cache ${quoted(place)}` };
    case 'damaged':
      return {
        hint: 'a registry keeps what it has under a digest: have the blob deleted there and copy the cache again, or copy a whole one to another registry',
      };
    default:
      return {};
  }
}

/** The option string of a tag that a finding concerns: the target itself, where that is one cache. */
function exportTo(options: CacheOptions, { tags: [tag = ''] }: Finding, target: string): string {
  const { ref = '' } = options.attributes;
  if (!isTag(tag) || tag === ref) return target;
  const { registry, repository } = parseReference(ref);
  return formatOptions({ ...options, attributes: { ...options.attributes, ref: `${registry}/${repository}:${tag}` } });
}

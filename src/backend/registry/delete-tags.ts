import { CacheError } from '../../errors.js';
import { discard } from '../../net/http/http.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { isImageType } from '../../oci/media-types.js';
import { isUnread, type StoreEntry, type UnreadEntry } from '../cache-store.js';
import { readManifest } from '../repository/manifest.js';
import { nameOf, type RegistryPlace, requestTo } from './registry-place.js';
import { registryRepository } from './registry-repository.js';

const ENABLE =
  'have deletion enabled in the registry (storage.delete.enabled, REGISTRY_STORAGE_DELETE_ENABLED=true), or delete the tag in its own interface';

/**
 * Deletes tags: distribution-spec, "Deleting tags" and "Deleting Manifests". Few registries delete a tag by its name, and
 * all that delete anything delete a manifest by its digest, with all its tags: that is done where no other tag needs the
 * manifest, itself or by way of an index.
 *
 * @param entries - all tags of the repository
 * @throws CacheError NOT_FOUND for a tag that is not there, and DENIED where the registry refuses; nothing was deleted then
 *   unless it refuses one tag after others
 */
export async function deleteTags(
  place: RegistryPlace,
  entries: readonly (StoreEntry | UnreadEntry)[],
  names: readonly string[],
  signal?: AbortSignal,
): Promise<void> {
  const known = entries.map((entry) => {
    if (isUnread(entry)) throw unclear(place, entry);
    return entry;
  });
  const goes = ({ names: [tag = ''] }: StoreEntry) => names.includes(tag);
  const doomed = new Map(known.filter(goes).flatMap(({ names: [tag = ''], descriptor }) => [[tag, descriptor.digest]]));
  const lacked = names.find((name) => !doomed.has(name));
  if (lacked !== undefined) {
    throw new CacheError('NOT_FOUND', `${nameOf(place)} has no tag ${JSON.stringify(lacked)}`, { side: place.side });
  }
  const kept = known.filter((entry) => !goes(entry)).map(({ descriptor }) => descriptor);
  const needed = await manifestsBelow(place, kept, signal);
  const deleted = new Set<Digest>();
  for (const [tag, digest] of doomed) {
    if (needed.has(digest)) {
      const hint = `another tag needs the same manifest, and this registry deletes no tag alone: ${ENABLE}`;
      await deleteManifest(place, tag, `delete the tag ${tag}`, hint, signal);
    } else if (!deleted.has(digest)) {
      await deleteManifest(place, digest, `delete the tag ${tag}`, ENABLE, signal);
      deleted.add(digest);
    }
  }
}

async function deleteManifest(
  place: RegistryPlace,
  reference: string,
  purpose: string,
  hint: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const response = await place.client.request({
    ...requestTo(place, `manifests/${reference}`),
    scopes: [`repository:${place.repository}:delete`],
    method: 'DELETE',
    purpose,
    // Somebody else was faster.
    accept: [404],
    hint,
    signal,
  });
  discard(response);
}

/** The manifests that some tags need: their own, and those of the images in an index. */
async function manifestsBelow(
  place: RegistryPlace,
  tops: readonly Descriptor[],
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<Digest>> {
  const repository = registryRepository(place);
  const found = new Set<Digest>();
  const open = [...tops];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (found.has(next.digest)) continue;
    found.add(next.digest);
    if (!isImageType(next.mediaType)) continue;
    const { content } = await readManifest(repository, next, signal);
    if (content.kind === 'index') open.push(...content.manifests);
  }
  return found;
}

function unclear(place: RegistryPlace, { names: [tag = ''], problem }: UnreadEntry): CacheError {
  const message = `${nameOf(place)}: nothing was deleted, since it is not known which manifest the tag ${tag} needs`;
  return problem.saying(`${message}: ${problem.message}`);
}

import { readImport } from '../../backend/option-string.js';
import type { Location } from '../../backend/backend.js';
import { locate, openRepository, openSource } from '../../backend/backends.js';
import type { RepositoryReader } from '../../backend/repository/repository.js';
import { formatOptions, type OnNote } from '../../buildkit/options.js';
import { CacheError } from '../../errors.js';
import { listBlobs } from '../../layout/blobs/blob-list.js';
import type { Content } from '../../oci/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { isManifestType } from '../../oci/media-types.js';
import type { Session } from '../../session.js';

/** Somewhere to fetch good blobs from. */
export interface BlobSource {
  readonly name: string;
  /**
   * A blob's bytes, unverified; reading them throws CORRUPT when they are not there. Undefined when that is known
   * already.
   *
   * @throws CacheError NOT_FOUND when this is no source at all
   */
  content(blob: Descriptor, signal?: AbortSignal): Promise<Content | undefined>;
}

/**
 * What the import strings lead to: from a folder or registry any blob can be had.
 *
 * @throws CacheError USAGE, NOT_FOUND, CORRUPT
 */
export async function openSources(
  texts: readonly string[],
  session: Session,
  onNote: OnNote | undefined,
): Promise<BlobSource[]> {
  const sources: BlobSource[] = [];
  for (const text of texts) {
    const options = await readImport(text, onNote);
    const name = formatOptions(options);
    const at = await locate(options, 'import', session);
    const repository = await openRepository(at, session);
    if (at.path === undefined) sources.push(remoteSource(name, repository, at, session));
    else {
      await checkFolder(at.name);
      sources.push(folderSource(name, repository));
    }
  }
  return sources;
}

/** A folder without blobs is another than was meant: that it lacks a blob says nothing. */
async function checkFolder(folder: string): Promise<void> {
  if ((await listBlobs(folder).next()).done !== true) return;
  throw new CacheError('NOT_FOUND', `there is no cache in ${folder}: it has no blobs`, {
    hint: 'check the path that --from names',
    side: 'import',
  });
}

function folderSource(name: string, repository: RepositoryReader): BlobSource {
  return { name, content: (blob) => Promise.resolve(repository.blob(blob)) };
}

/** A registry; asked first, and once, for what the string names, since one that does not exist lacks every blob. */
function remoteSource(name: string, repository: RepositoryReader, at: Location, session: Session): BlobSource {
  let found: Promise<Descriptor> | undefined;
  return {
    name,
    async content(blob, signal) {
      found ??= openSource(at, session).then((source) => source.resolve(signal));
      await found;
      // Registries keep the two apart.
      const isManifest = blob.mediaType === '' || isManifestType(blob.mediaType);
      return isManifest ? repository.manifest(blob) : repository.blob(blob);
    },
  };
}

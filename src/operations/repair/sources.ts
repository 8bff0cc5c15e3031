import type { Location } from '../../backend/backend.js';
import { locate, openSource, openStore } from '../../backend/backends.js';
import type { CacheStore } from '../../backend/cache-store.js';
import { readImport } from '../../backend/option-string.js';
import { shownOptions } from '../../buildkit/options.js';
import { CacheError } from '../../errors.js';
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
 * The places of the import strings. Any blob of such a place can be fetched.
 *
 * @throws CacheError USAGE, NOT_FOUND, CORRUPT
 */
export async function openSources(texts: readonly string[], session: Session): Promise<BlobSource[]> {
  const sources: BlobSource[] = [];
  for (const text of texts) {
    const options = await readImport(text, (note) => session.note(note));
    const at = await locate(options, 'import', session);
    const store = await openStore(at, session);
    if (store.blobs !== undefined) await refuseEmpty(store, store.blobs(session.signal));
    sources.push(blobSource(shownOptions(options), store, at, session));
  }
  return sources;
}

/** A place without blobs is another than was meant: that it lacks a blob says nothing. */
async function refuseEmpty({ name }: CacheStore, blobs: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of blobs) return;
  throw new CacheError('NOT_FOUND', `there is no cache in ${name}: it has no blobs`, {
    hint: 'check the path that --from names',
    side: 'import',
  });
}

/**
 * A place that cannot list, such as a registry, is asked first, and once, for what the string names: a place that does not
 * exist lacks every blob.
 */
function blobSource(name: string, store: CacheStore, at: Location, session: Session): BlobSource {
  let found: Promise<Descriptor> | undefined;
  return {
    name,
    async content(blob, signal) {
      if (store.blobs === undefined) {
        found ??= openSource(at, session).then((source) => source.resolve(signal));
        await found;
      }
      // Registries keep the two apart.
      const isManifest = blob.mediaType === '' || isManifestType(blob.mediaType);
      return isManifest ? store.manifest(blob) : store.blob(blob);
    },
  };
}

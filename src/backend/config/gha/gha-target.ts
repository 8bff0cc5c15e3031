import { CacheError } from '../../../errors.js';
import type { Digest } from '../../../oci/digest.js';
import { ConfigTarget } from '../config-target.js';
import { BLOB_PREFIX, blobIn, ENTRY_VERSION, indexKey } from './cache-keys.js';
import { BlobUploads, UPLOAD_TIMES, type UploadTimes } from './entry-upload.js';
import { writeIndex } from './gha-index.js';
import type { GhaPlace } from './gha-place.js';
import { type GithubRest, REST_PAGE } from './github-rest.js';

/** How many blobs are sent at once. BuildKit sends one after the other. */
const UPLOADS = 4;

export interface GhaTargetSettings {
  readonly name: string;
  /** The scope of GitHub that the token writes. */
  readonly ref: string;
  /** Lists the blobs that the service has, where the export string has a token for that. */
  readonly rest: GithubRest | undefined;
  readonly times?: UploadTimes;
}

/** A cache to be written into the cache service of GitHub: a new entry for each new blob, then one for its index. */
export function ghaTarget(place: GhaPlace, { name, ref, rest, times = UPLOAD_TIMES }: GhaTargetSettings): ConfigTarget {
  const uploads = new BlobUploads(place, times);
  return new ConfigTarget(
    {
      async present(blobs, signal) {
        const digests = new Set(blobs.map(({ digest }) => digest));
        const listed = rest && (await listBlobs(place, rest, digests, signal));
        return listed ?? place.look(digests, signal);
      },
      content: (blob) => place.blob(blob),
      store: (open, blob, signal) => uploads.store(open, blob, signal),
      async publish({ bytes }, signal) {
        await writeIndex(place, indexKey(place.settings.scope, ref), bytes, signal, times);
      },
    },
    { name, uploads: UPLOADS },
  );
}

/**
 * Which of some blobs are in the scopes of the token, by listings: undefined where that takes more requests than a look-up of
 * each, or where the listing fails.
 */
async function listBlobs(
  place: GhaPlace,
  rest: GithubRest,
  wanted: ReadonlySet<Digest>,
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<Digest> | undefined> {
  const found = new Set<Digest>();
  let budget = wanted.size;
  try {
    for (const { scope: ref } of place.settings.access.scopes) {
      let isFirst = true;
      for await (const { entries, total } of rest.list({ prefix: BLOB_PREFIX, ref }, signal)) {
        if (isFirst) budget -= Math.max(1, Math.ceil(total / REST_PAGE));
        if (budget < 0) return undefined;
        isFirst = false;
        for (const { key, version } of entries) {
          const digest = version === ENTRY_VERSION ? blobIn(key) : undefined;
          if (digest !== undefined && wanted.has(digest)) found.add(digest);
        }
      }
    }
    return found;
  } catch (error) {
    signal?.throwIfAborted();
    if (!(error instanceof CacheError)) throw error;
    place.note(`the layers are looked for one by one, since a listing failed: ${error.message}`);
    return undefined;
  }
}

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkContent } from '../../../layout/blobs/blob-file.js';
import { hashContent, verified } from '../../../oci/content.js';
import type { Digest } from '../../../oci/digest.js';
import type { StoreRepair } from '../../cache-store.js';
import { contentOfFile, spool } from '../spool.js';
import { writableScope } from './actions-token.js';
import { blobIn, blobKey, ENTRY_VERSION } from './cache-keys.js';
import { BlobUploads, UPLOAD_TIMES } from './entry-upload.js';
import { change } from './gha-changes.js';
import type { GhaEntries } from './gha-entries.js';
import type { GhaPlace } from './gha-place.js';
import type { GithubRest } from './github-rest.js';

/** What repair does in a cache service: entries never change, so a damaged one is deleted, and stored again. */
export function ghaRepair(place: GhaPlace, rest: GithubRest, entries: GhaEntries): StoreRepair {
  const uploads = new BlobUploads(place, UPLOAD_TIMES);
  const { name } = place.connection;
  return {
    has: async (digest) => (await place.findBlob(digest, undefined, undefined)) !== undefined,
    async isWhole(digest, signal) {
      const size = await place.sizeOf(digest, signal);
      return size !== undefined && (await hashContent(place.blob({ digest, size }), signal)).digest === digest;
    },
    async restore(content, blob, { where, dryRun, signal }) {
      // Nothing is deleted before there is something better.
      await checkContent(content, blob, { where, signal });
      if (dryRun) return;
      await removeBlob(place, rest, blob.digest, signal);
      await uploads.store(() => verified(content.open({}, signal), blob, where), blob, signal);
      place.forget(blob.digest);
    },
    async write(content, signal) {
      const folder = await mkdtemp(join(tmpdir(), 'bkcache-'));
      try {
        const path = join(folder, 'blob');
        const blob = await spool(content, path, signal);
        if ((await place.findBlob(blob.digest, undefined, signal)) !== undefined) return blob;
        await uploads.store(() => verified(contentOfFile(path, blob.size).open({}, signal), blob, name), blob, signal);
        return blob;
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
    quarantine: (digest) => removeBlob(place, rest, digest, undefined),
    change: (changes, signal) => change(place, rest, entries, changes, signal),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** Deletes the entry of a blob that look-ups find: in the scope that the token writes, or else in another one that it reads. */
async function removeBlob(
  place: GhaPlace,
  rest: GithubRest,
  digest: Digest,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { access } = place.settings;
  const found = await place.findBlob(digest, undefined, signal);
  if (found === undefined) return;
  const own = writableScope(access);
  const listed = await rest.all({ prefix: blobKey(digest) }, signal);
  const same = listed.filter(({ key, version }) => version === ENTRY_VERSION && blobIn(key) === digest);
  const read = same.filter(({ key, ref }) => key === found.key && access.scopes.some(({ scope }) => scope === ref));
  const entry = read.find(({ ref }) => ref === own) ?? read[0];
  if (entry !== undefined) await rest.remove(entry, signal);
  place.forget(digest);
}

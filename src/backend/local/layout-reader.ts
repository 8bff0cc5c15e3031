import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError } from '../../errors.js';
import { tagOf } from '../../layout/index/index-json.js';
import { readIndex, readIndexOrNone } from '../../layout/index/index-read.js';
import { recordUse } from '../../layout/index/last-used.js';
import type { Layout } from '../../layout/layout.js';
import { readWhole } from '../../oci/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { JSON_LIMIT } from '../../oci/json.js';
import { shownNames } from '../cache-store.js';
import type { LeasedManifest, Reference, RepositoryReader } from '../repository/repository.js';
import { mediaTypeOf, notAManifest, resolveTag } from '../repository/resolve.js';
import { entriesOf } from './folder-entries.js';

/** A layout on disk as a repository to read from. */
export function layoutReader(layout: Layout): RepositoryReader {
  const { root, blobs } = layout;
  return {
    name: root,
    resolve: async (reference, signal) =>
      'tag' in reference
        ? resolveTag(root, await readIndex(layout, signal), reference.tag)
        : resolveDigest(layout, reference.digest, signal),
    lease: (reference, signal) => leaseOf(layout, reference, signal),
    used: (descriptor, reference, signal) =>
      recordUse(layout, descriptor, 'tag' in reference ? reference.tag : undefined, signal),
    async entries(signal) {
      const entries = entriesOf(await readIndexOrNone(layout, signal));
      return entries.flatMap((entry) => shownNames(entry).map((tag) => ({ tag, descriptor: entry.descriptor })));
    },
    manifest: ({ digest }) => blobs.content(digest),
    blob: ({ digest }) => blobs.content(digest),
  };
}

/** How often to look for a manifest that gc moved before it was leased, and how long after; in milliseconds. */
const TRIES = 20;
const PAUSE = 5;

/** Finds a manifest and leases it: see layout/lock/manifest-lease.ts. A manifest that gc has moved in between is looked for again. */
async function leaseOf(layout: Layout, reference: Reference, signal?: AbortSignal): Promise<LeasedManifest> {
  const { leaseManifest } = await import('../../layout/lock/manifest-lease.js');
  for (let tries = 1; ; tries++) {
    const found =
      'tag' in reference ? resolveTag(layout.root, await readIndex(layout, signal), reference.tag) : reference;
    const { digest } = found;
    const release = await leaseManifest(layout.blobs.path(digest));
    try {
      if (release !== undefined || tries === TRIES || (await isMissing(layout, digest))) {
        const descriptor = isDescriptor(found) ? found : await resolveDigest(layout, digest, signal);
        return { descriptor, [Symbol.asyncDispose]: release ?? (() => Promise.resolve()) };
      }
    } catch (error) {
      await release?.();
      throw error;
    }
    await sleep(PAUSE, undefined, { signal });
  }
}

function isDescriptor(found: Descriptor | { readonly digest: Digest }): found is Descriptor {
  return 'mediaType' in found;
}

/** Whether a blob is neither in its place nor in quarantine, from where gc might restore it. */
async function isMissing({ root, blobs }: Layout, digest: Digest): Promise<boolean> {
  const { quarantinedBlobs } = await import('../../layout/gc/quarantine.js');
  if ((await blobs.size(digest)) !== undefined) return false;
  if ((await quarantinedBlobs(root)).some((blob) => blob.digest === digest)) return false;
  return (await blobs.size(digest)) === undefined;
}

/** An explicit digest only has to be among the blobs (client/solve.go); its own mediaType says what it is. */
async function resolveDigest(layout: Layout, digest: Digest, signal?: AbortSignal): Promise<Descriptor> {
  const { root, blobs } = layout;
  const size = await blobs.size(digest);
  if (size === undefined) {
    const index = await readIndex(layout, signal);
    const known = index.manifests.map((entry) => `${entry.digest} (${tagOf(entry) ?? 'no tag'})`);
    throw new CacheError('NOT_FOUND', `${root} has no blob ${digest}`, {
      hint: known.length === 0 ? 'its index.json lists nothing' : `its index.json lists: ${known.join(', ')}`,
    });
  }
  if (size > JSON_LIMIT) throw notAManifest(root, digest);
  const bytes = await readWhole(blobs.content(digest), { digest, size }, root, { limit: JSON_LIMIT, signal });
  return { mediaType: mediaTypeOf(bytes, root, digest), digest, size };
}

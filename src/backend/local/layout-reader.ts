import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError } from '../../errors.js';
import { findTag, type LayoutIndex, namesOf, tagOf } from '../../layout/index/index-json.js';
import { readIndex, readIndexOrNone } from '../../layout/index/index-read.js';
import { recordUse } from '../../layout/index/last-used.js';
import type { Layout } from '../../layout/layout.js';
import { readWhole } from '../../oci/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { JSON_LIMIT } from '../../oci/json.js';
import { decodeManifest } from '../../oci/manifest.js';
import { shownNames } from '../cache-store.js';
import type { LeasedManifest, Reference, RepositoryReader } from '../repository/repository.js';
import { entriesOf } from './folder-entries.js';

/** A layout on disk as a repository to read from. */
export function layoutReader(layout: Layout): RepositoryReader {
  const { root, blobs } = layout;
  return {
    name: root,
    resolve: async (reference, signal) =>
      'tag' in reference
        ? resolveTag(layout, await readIndex(layout, signal), reference.tag)
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
    const found = 'tag' in reference ? resolveTag(layout, await readIndex(layout, signal), reference.tag) : reference;
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

function resolveTag({ root }: Layout, index: LayoutIndex, tag: string): Descriptor {
  const found = findTag(index, tag);
  if (found !== undefined) return found;
  const tags = [...new Set(index.manifests.flatMap(namesOf))];
  throw new CacheError('NOT_FOUND', `${root} has no tag ${JSON.stringify(tag)}`, {
    hint: tags.length === 0 ? 'it has no tags at all' : `its tags are: ${tags.join(', ')}`,
  });
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

/** What a blob that is whole says of itself. A layer and a config have digests, too, and are no manifests. */
function mediaTypeOf(bytes: Uint8Array, root: string, digest: Digest): string {
  try {
    return decodeManifest(bytes, `${root}: ${digest}`).mediaType;
  } catch (cause) {
    throw notAManifest(root, digest, cause);
  }
}

function notAManifest(root: string, digest: Digest, cause?: unknown): CacheError {
  return new CacheError('NOT_FOUND', `${root} has a blob ${digest}, and it is no manifest`, {
    hint: `digest= takes that of a manifest; "bkcache list --json ${root}" has them`,
    cause,
  });
}

import type { Cache, CacheSource, Location } from '../../backend/backend.js';
import { openSource } from '../../backend/backends.js';
import { allRead, shownNames } from '../../backend/cache-store.js';
import { loadCache } from '../../backend/repository/load-cache.js';
import { readManifest } from '../../backend/repository/manifest.js';
import type { RepositoryReader } from '../../backend/repository/repository.js';
import { isDigest } from '../../oci/digest.js';
import { parseReference } from '../../oci/reference.js';
import { CacheError } from '../../errors.js';
import { type Descriptor, REF_NAME } from '../../oci/descriptor.js';
import { contentsOf } from '../../oci/successors.js';
import type { Session } from '../../session.js';
import { openReader, openStoreOrNone } from './places.js';

/** A cache or an image that goes into a bundle, or comes out of one. */
export type Traveller =
  | { readonly kind: 'cache'; readonly tag: string; readonly cache: Cache }
  | {
      readonly kind: 'image';
      readonly tag: string;
      /** Its manifest or index, with the names that it has. */
      readonly descriptor: Descriptor;
      readonly reader: RepositoryReader;
    };

/** The tag of a cache that has none. */
const LATEST = 'latest';

/**
 * What an import string selects, or all caches and images of a place. gc keeps them until the session ends.
 *
 * @param isOne - whether the location means one cache of the place
 * @throws CacheError NOT_FOUND, CORRUPT
 */
export async function travellersAt(at: Location, isOne: boolean, session: Session): Promise<readonly Traveller[]> {
  const { signal } = session;
  const reader = await openReader(at, session);
  if (reader === undefined) {
    if (isOne) return [{ kind: 'cache', tag: nameOf(at), cache: await leased(await openSource(at, session), signal) }];
    throw new CacheError('USAGE', `${at.name} is packed one cache at a time`, { hint: 'name each with name=' });
  }
  if (isOne) {
    const descriptor = await (await openSource(at, session)).resolve(signal);
    return [await travellerOf(reader, descriptor, nameOf(at), session)];
  }
  await using store = await openStoreOrNone(at, session);
  const entries = allRead((await store?.entries(signal)) ?? []);
  const found: Traveller[] = [];
  for (const entry of entries) {
    const [tag = entries.length === 1 ? LATEST : shortOf(entry.descriptor)] = shownNames(entry);
    found.push(await travellerOf(reader, entry.descriptor, tag, session));
  }
  return found;
}

/** The cache or image that a manifest is; a cache inside an image travels with its image. */
export async function travellerOf(
  reader: RepositoryReader,
  descriptor: Descriptor,
  tag: string,
  session: Session,
): Promise<Traveller> {
  const { signal } = session;
  const lease = await reader.lease?.({ digest: descriptor.digest }, signal);
  if (lease !== undefined) session.defer(lease);
  const manifest = await readManifest(reader, descriptor, signal);
  if (contentsOf(manifest.content).kind === 'cache') {
    return { kind: 'cache', tag, cache: await loadCache(reader, descriptor, signal) };
  }
  const { mediaType, size } = manifest.descriptor;
  return { kind: 'image', tag, descriptor: { ...descriptor, mediaType, size }, reader };
}

/** An image under another name than those that it has. */
export function renamed(descriptor: Descriptor, tag: string): Descriptor {
  return { ...descriptor, annotations: { [REF_NAME]: tag } };
}

function leased(source: CacheSource, signal: AbortSignal | undefined): Promise<Cache> {
  return source.lease?.(signal) ?? source.load(signal);
}

/** The tag under which a selected cache travels. */
function nameOf({ options: { type }, selection }: Location): string {
  if (type === 'registry') return parseReference(selection).tag ?? LATEST;
  const [first = ''] = selection.split(';');
  return isDigest(first) ? LATEST : first;
}

function shortOf({ digest }: Descriptor): string {
  return digest.slice(digest.indexOf(':') + 1).slice(0, 12);
}

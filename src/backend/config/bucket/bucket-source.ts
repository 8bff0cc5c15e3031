import { CacheError } from '../../../errors.js';
import { parallel } from '../../../bytes/parallel.js';
import { loadBare } from '../../../graph/bare.js';
import { type Document, documentOf } from '../../../oci/document.js';
import { JSON_LIMIT } from '../../../oci/json.js';
import { CACHE_CONFIG } from '../../../oci/media-types.js';
import type { Cache, CacheSource } from '../../backend.js';
import { descriptorOfCache } from '../descriptor-of-cache.js';
import { blobKey, type BucketKeys, manifestKey } from './bucket-keys.js';
import { listNames } from './bucket-listing.js';
import type { ObjectStore } from './object-store.js';

/** How many requests a service of objects gets at once; most of the time goes by on the way. */
export const CONCURRENCY = 8;
/** How many names a message shows. */
const NAMES_SHOWN = 20;

/**
 * The cache behind a name in a bucket: a cacheconfig without a manifest, and blobs by their digests. Where an import reads
 * several names, they become one cache, and names that are missing count as empty: cache/remotecache/azblob/importer.go,
 * Resolve.
 */
export function bucketSource(store: ObjectStore, keys: BucketKeys, note: (text: string) => void = ignore): CacheSource {
  const names = namesToRead(keys);
  const named = names.map((key) => store.nameOf(manifestKey(keys, key)));
  let opened: Promise<Cache> | undefined;
  // The names may be written again meanwhile: one reader sees one cache.
  const open = (signal?: AbortSignal) => (opened ??= openAll(store, keys, names, note, signal));
  return {
    name: named.join(' + '),
    resolve: async (signal) => descriptorOfCache(await open(signal)),
    load: open,
  };
}

function ignore(): void {
  // Nobody asked for notes.
}

async function openAll(
  store: ObjectStore,
  keys: BucketKeys,
  names: readonly string[],
  note: (text: string) => void,
  signal: AbortSignal | undefined,
): Promise<Cache> {
  const found: (Cache | undefined)[] = names.map(() => undefined);
  await parallel([...names.entries()], CONCURRENCY, signal, async ([index, name], inner) => {
    found[index] = await openOne(store, keys, name, inner);
  });
  const caches = found.filter((cache) => cache !== undefined);
  const [only, ...others] = caches;
  if (only === undefined) throw await noCache(store, keys, names, signal);
  for (const [index, name] of names.entries()) {
    if (found[index] === undefined)
      note(`there is no cache at ${store.nameOf(manifestKey(keys, name))}: only the others are read`);
  }
  if (others.length === 0) return only;
  const { mergeCaches } = await import('../../merge-caches.js');
  return mergeCaches(caches, signal);
}

async function openOne(
  store: ObjectStore,
  keys: BucketKeys,
  name: string,
  signal: AbortSignal | undefined,
): Promise<Cache | undefined> {
  const config = await readConfig(store, keys, name, signal);
  if (config === undefined) return undefined;
  const where = store.nameOf(manifestKey(keys, name));
  return {
    name: where,
    concurrency: CONCURRENCY,
    graph: loadBare(config.bytes, where),
    saved: { documents: [config], shape: undefined },
    blob: ({ digest, size }) => store.content(blobKey(keys, digest), size),
  };
}

/** The names that an import reads: all of them in Azure, the first one in S3. */
export function namesToRead({ names, reads }: BucketKeys): readonly string[] {
  return reads === 'all' ? [...new Set(names)] : names.slice(0, 1);
}

/**
 * The cacheconfig behind a name, or undefined where there is none.
 *
 * @throws CacheError DENIED where the service does not say whether there is one
 */
export async function readConfig(
  store: ObjectStore,
  keys: BucketKeys,
  name: string,
  signal: AbortSignal | undefined,
): Promise<Document | undefined> {
  const answer = await store.read(manifestKey(keys, name), JSON_LIMIT, signal);
  if (answer.state === 'unknown') throw answer.problem;
  return answer.state === 'missing' ? undefined : documentOf(CACHE_CONFIG, answer.value);
}

/** The error for names without a cache, with the names there are. */
export async function noCache(
  store: ObjectStore,
  keys: BucketKeys,
  names: readonly string[],
  signal: AbortSignal | undefined,
): Promise<CacheError> {
  const missing = names.map((name) => store.nameOf(manifestKey(keys, name))).join(' and ');
  return new CacheError('NOT_FOUND', `there is no cache at ${missing}`, {
    hint: await namesHint(store, keys, signal),
    side: 'import',
  });
}

async function namesHint(store: ObjectStore, keys: BucketKeys, signal: AbortSignal | undefined): Promise<string> {
  try {
    const names: string[] = [];
    let isMore = false;
    for await (const page of listNames(store, keys, signal)) {
      if (names.length > NAMES_SHOWN) {
        isMore = true;
        break;
      }
      names.push(...page.map(({ name }) => name));
    }
    if (names.length === 0)
      return `nothing is under ${store.nameOf(keys.manifests)}: check prefix= and manifests_prefix=`;
    const others = names.length - NAMES_SHOWN;
    const more = isMore ? ', and more' : others > 0 ? `, and ${others} more` : '';
    return `the names there are: ${names.slice(0, NAMES_SHOWN).join(', ')}${more}`;
  } catch (error) {
    if (!(error instanceof CacheError)) throw error;
    return 'check name=, prefix= and manifests_prefix=';
  }
}

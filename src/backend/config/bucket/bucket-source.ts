import { CacheError } from '../../../errors.js';
import { loadBare } from '../../../graph/bare.js';
import { type Document, documentOf } from '../../../oci/document.js';
import { JSON_LIMIT } from '../../../oci/json.js';
import { CACHE_CONFIG } from '../../../oci/media-types.js';
import type { Cache, CacheSource } from '../../backend.js';
import { blobKey, type BucketKeys, manifestKey } from './bucket-keys.js';
import type { ObjectStore } from './object-store.js';

/** How many requests a service of objects gets at once; most of the time goes by on the way. */
export const CONCURRENCY = 8;
/** How many names a message shows. */
const NAMES_SHOWN = 20;

/** The cache behind a name in a bucket: a cacheconfig without a manifest, and blobs by their digests. */
export function bucketSource(store: ObjectStore, keys: BucketKeys): CacheSource {
  const key = manifestKey(keys, keys.names[0] ?? '');
  const name = store.nameOf(key);
  let document: Promise<Document> | undefined;
  // The name may be written again meanwhile: one reader sees one cache.
  const read = (signal?: AbortSignal) => (document ??= readConfig(store, keys, key, signal));
  return {
    name,
    resolve: async (signal) => (await read(signal)).descriptor,
    async load(signal): Promise<Cache> {
      const config = await read(signal);
      return {
        name,
        concurrency: CONCURRENCY,
        graph: loadBare(config.bytes, name),
        saved: { documents: [config], shape: undefined },
        blob: ({ digest, size }) => store.content(blobKey(keys, digest), size),
      };
    },
  };
}

async function readConfig(
  store: ObjectStore,
  keys: BucketKeys,
  key: string,
  signal: AbortSignal | undefined,
): Promise<Document> {
  const answer = await store.read(key, JSON_LIMIT, signal);
  if (answer.state === 'there') return documentOf(CACHE_CONFIG, answer.value);
  if (answer.state === 'unknown') throw answer.problem;
  throw new CacheError('NOT_FOUND', `there is no cache at ${store.nameOf(key)}`, {
    hint: await namesHint(store, keys, signal),
    side: 'import',
  });
}

async function namesHint(store: ObjectStore, keys: BucketKeys, signal: AbortSignal | undefined): Promise<string> {
  try {
    const names: string[] = [];
    let isMore = false;
    for await (const page of store.list(keys.manifests, signal)) {
      if (names.length > NAMES_SHOWN) {
        isMore = true;
        break;
      }
      const found = page.map(({ key }) => key).filter((key) => !key.startsWith(`${keys.blobs}sha256:`));
      names.push(...found.map((key) => key.slice(keys.manifests.length)));
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

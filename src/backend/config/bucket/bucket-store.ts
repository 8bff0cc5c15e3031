import { parallel } from '../../../bytes/parallel.js';
import type { CacheOptions } from '../../../buildkit/options.js';
import { CacheError } from '../../../errors.js';
import type { Content } from '../../../oci/content.js';
import type { Digest } from '../../../oci/digest.js';
import type { CacheStore, GcOptions } from '../../cache-store.js';
import type { DocumentReader } from '../../repository/repository.js';
import { needsOf } from '../needs-of.js';
import { BucketEntries } from './bucket-entries.js';
import { blobKey, type BucketKeys } from './bucket-keys.js';
import { listBlobs } from './bucket-listing.js';
import { countedStore } from './counted-store.js';
import { bucketRemedy, FREED_BY } from './bucket-remedy.js';
import { CONCURRENCY, namesToRead, noCache, readConfig } from './bucket-source.js';
import type { ObjectStore } from './object-store.js';

const HEADS_AT_ONCE = 16;

const changes = () => import('./bucket-changes.js');

/**
 * The caches of a bucket: a name, and a cacheconfig without a manifest behind it.
 *
 * @param keysOf - the keys of the type
 * @param options - those that lead here, for the keys and the commands in findings
 */
export function bucketStore(
  service: ObjectStore,
  keysOf: (options: CacheOptions) => BucketKeys,
  options: CacheOptions,
): CacheStore {
  const keys = keysOf(options);
  const manifestsUnder = (prefix: string) =>
    keysOf({ ...options, attributes: { ...options.attributes, manifests_prefix: prefix } }).manifests;
  const store = countedStore(service);
  const entries = new BucketEntries(store, keys);
  const reader: DocumentReader = {
    name: store.nameOf(keys.manifests),
    concurrency: CONCURRENCY,
    manifest: ({ digest }) => entries.document(digest) ?? noDocument(store, digest),
    blob: ({ digest, size }) => store.content(blobKey(keys, digest), size),
  };
  return {
    readsOnRequest: true,
    requests: store.requests,
    entries: (signal) => entries.list(signal),
    async selected(signal) {
      const names = namesToRead(keys);
      const found = [];
      for (const name of names) {
        const config = await readConfig(store, keys, name, signal);
        if (config !== undefined) found.push(await entries.keep(name, config, signal));
      }
      if (found.length === 0) throw await noCache(store, keys, names, signal);
      return found;
    },
    blobs: (signal) => listBlobs(store, keys, signal),
    look: (digests, signal) => look(store, keys, digests, signal),
    writtenAt: ({ modified }) => Promise.resolve(modified),
    needs: (list, signal) => needsOf(reader, list, signal),
    ...reader,
    remedy: (finding) => bucketRemedy(finding, options),
    change: async (wanted, signal) => (await changes()).change(store, keys, wanted, signal),
    remove: async (names, signal) => (await changes()).removeNames(store, keys, names, signal),
    touch: async (wanted) => (await import('./bucket-touch.js')).touchBucket(store, keys, wanted),
    gc: async (wanted) => (await import('./bucket-gc.js')).gcBucket(store, keys, withPrefixes(wanted, manifestsUnder)),
    freedBy: FREED_BY,
    repair: async () => (await import('./bucket-repair.js')).bucketRepair(store, keys),
    [Symbol.asyncDispose]: () => entries[Symbol.asyncDispose](),
  };
}

/** The options with what all keys start with in the place of each `manifests_prefix`. */
function withPrefixes(wanted: GcOptions, manifestsUnder: (prefix: string) => string): GcOptions {
  return { ...wanted, manifests: wanted.manifests?.map(manifestsUnder) };
}

/**
 * Asks for blobs one by one.
 *
 * @throws CacheError where the service does not say whether a blob is there
 */
async function look(
  store: ObjectStore,
  keys: BucketKeys,
  digests: readonly Digest[],
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<Digest, number>> {
  const found = new Map<Digest, number>();
  await parallel(digests, HEADS_AT_ONCE, signal, async (digest, inner) => {
    const answer = await store.head(blobKey(keys, digest), inner);
    if (answer.state === 'unknown') throw answer.problem;
    if (answer.state === 'there') found.set(digest, answer.value.size);
  });
  return found;
}

function noDocument({ name }: ObjectStore, digest: Digest): Content {
  return {
    open() {
      throw new CacheError('CORRUPT', `${name}: no name stands for the document ${digest}`, { wrong: 'missing' });
    },
  };
}

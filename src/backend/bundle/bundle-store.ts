import type { CacheStore } from '../cache-store.js';
import { repositoryStore } from '../repository/repository-store.js';
import { blobName } from './bundle-names.js';
import type { Bundle } from './bundle.js';
import { bundleReader } from './bundle-reader.js';

const UNPACK = 'a bundle is written once: unpack it into a folder (bkcache unpack), work there, and pack it again';

/** The caches in a bundle, to be listed and verified. */
export function bundleStore(bundle: Bundle): CacheStore {
  const store = repositoryStore(bundleReader(bundle));
  return {
    ...store,
    async *blobs() {
      for (const [digest, size] of await Promise.resolve(bundle.sizes)) yield { digest, size, at: blobName(digest) };
    },
    instead: { gc: UNPACK, prune: UNPACK, repair: UNPACK },
  };
}

import type { CacheStore } from '../cache-store.js';
import type { RepositoryReader } from './repository.js';

/** The caches of a repository, to be listed and verified: what any place with manifests and tags can do. */
export function repositoryStore(repository: RepositoryReader): CacheStore {
  const { name, concurrency } = repository;
  return {
    name,
    ...(concurrency === undefined ? {} : { concurrency }),
    async entries(signal) {
      const entries = await repository.entries(signal);
      return entries.map(({ tag, ...entry }) => ({ names: tag === undefined ? [] : [tag], ...entry }));
    },
    manifest: (descriptor) => repository.manifest(descriptor),
    blob: (blob) => repository.blob(blob),
    remedy: () => ({}),
    // A reader has nothing open; what a service has open belongs to the session.
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

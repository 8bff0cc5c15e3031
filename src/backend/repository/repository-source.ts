import type { Session } from '../../session.js';
import type { CacheSource } from '../backend.js';
import type { Reference, RepositoryReader } from './repository.js';

/** The cache behind a tag or digest of a repository. */
export function repositorySource(
  name: string,
  open: () => Promise<RepositoryReader>,
  reference: Reference,
  session: Session,
): CacheSource {
  return {
    name,
    async resolve(signal) {
      const repository = await open();
      const descriptor = await repository.resolve(reference, signal);
      await repository.used?.(descriptor, reference, signal);
      return descriptor;
    },
    async load(signal) {
      const repository = await open();
      const { loadCache } = await import('./load-cache.js');
      return loadCache(repository, await repository.resolve(reference, signal), signal);
    },
    async lease(signal) {
      const repository = await open();
      const leased = await repository.lease?.(reference, signal);
      if (leased !== undefined) session.defer(leased);
      const descriptor = leased?.descriptor ?? (await repository.resolve(reference, signal));
      const { loadCache } = await import('./load-cache.js');
      const cache = await loadCache(repository, descriptor, signal);
      await repository.used?.(descriptor, reference, signal);
      return cache;
    },
  };
}

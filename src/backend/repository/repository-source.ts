import type { CacheSource } from '../backend.js';
import type { Reference, RepositoryReader } from './repository.js';

/** The cache behind a tag or digest of a repository. */
export function repositorySource(
  name: string,
  open: () => Promise<RepositoryReader>,
  reference: Reference,
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
      const { descriptor, release } = (await repository.lease?.(reference, signal)) ?? {
        descriptor: await repository.resolve(reference, signal),
        release: () => Promise.resolve(),
      };
      try {
        const { loadCache } = await import('./load-cache.js');
        const cache = await loadCache(repository, descriptor, signal);
        await repository.used?.(descriptor, reference, signal);
        return { cache, release };
      } catch (error) {
        await release();
        throw error;
      }
    },
  };
}

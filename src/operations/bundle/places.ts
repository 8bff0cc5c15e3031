import type { Location } from '../../backend/backend.js';
import { backends, openStore } from '../../backend/backends.js';
import type { CacheStore } from '../../backend/cache-store.js';
import type { RepositoryReader } from '../../backend/repository/repository.js';
import type { Session } from '../../session.js';

/** The store of a place; undefined for a type that has none. */
export async function openStoreOrNone(at: Location, session: Session): Promise<CacheStore | undefined> {
  return backends.get(at.options.type)?.store === undefined ? undefined : openStore(at, session);
}

/** The repository of a place; undefined for a place with caches alone, such as a bucket. */
export async function openReader(at: Location, session: Session): Promise<RepositoryReader | undefined> {
  return backends.get(at.options.type)?.reader?.(at, session);
}

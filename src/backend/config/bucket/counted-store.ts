import type { RequestCounts } from '../../cache-store.js';
import type { Content } from '../../../oci/content.js';
import type { ObjectCleaning } from './object-cleaning.js';
import type { ObjectStore } from './object-store.js';

/**
 * A store that counts what is asked of it. Attempts that are repeated count once, and so do the parts of a large object. The
 * drivers look at each copy that they have made.
 */
export interface CountedStore extends ObjectStore {
  readonly requests: RequestCounts;
}

/** Counts the requests to a bucket by what services charge for. */
export function countedStore(store: ObjectStore): CountedStore {
  const requests = { list: 0, get: 0, head: 0, put: 0, copy: 0, delete: 0 };
  return {
    name: store.name,
    nameOf: (key) => store.nameOf(key),
    requests,
    content(key, size): Content {
      const inner = store.content(key, size);
      return {
        ...inner,
        open(...range) {
          requests.get++;
          return inner.open(...range);
        },
      };
    },
    read(key, limit, signal) {
      requests.get++;
      return store.read(key, limit, signal);
    },
    head(key, signal) {
      requests.head++;
      return store.head(key, signal);
    },
    async *list(prefix, signal) {
      for await (const page of store.list(prefix, signal)) {
        requests.list++;
        yield page;
      }
    },
    put(key, bytes, size, signal) {
      requests.put++;
      return store.put(key, bytes, size, signal);
    },
    copy(object, to, signal) {
      requests.copy++;
      requests.head++;
      return store.copy(object, to, signal);
    },
    remove(key, signal) {
      requests.delete++;
      return store.remove(key, signal);
    },
    ...(store.create === undefined
      ? {}
      : {
          async create(key, bytes, size, signal) {
            requests.put++;
            await store.create?.(key, bytes, size, signal);
          },
        }),
    ...(store.touch === undefined
      ? {}
      : {
          async touch(object, signal) {
            requests.copy++;
            requests.head++;
            return (await store.touch?.(object, signal)) === true;
          },
        }),
    cleaning: countedCleaning(store.cleaning, requests, store.touch !== undefined),
  };
}

type Counts = { -readonly [Kind in keyof RequestCounts]: RequestCounts[Kind] };

/** How many objects S3 deletes with one request. */
export const DELETED_AT_ONCE = 1000;

/** @param isS3 - whether a touch is a copy, and versions and locks are two questions */
function countedCleaning(cleaning: ObjectCleaning, requests: Counts, isS3: boolean): ObjectCleaning {
  return {
    removeUnchanged(object, signal) {
      requests.delete++;
      return cleaning.removeUnchanged(object, signal);
    },
    removeAll(keys, signal) {
      requests.delete += Math.ceil(keys.length / DELETED_AT_ONCE);
      return cleaning.removeAll(keys, signal);
    },
    refresh(object, signal) {
      requests.head++;
      if (isS3) requests.copy++;
      else {
        requests.put++;
        requests.get++;
      }
      return cleaning.refresh(object, signal);
    },
    retention(signal) {
      if (isS3) requests.get += 2;
      else {
        requests.head++;
        requests.list++;
      }
      return cleaning.retention(signal);
    },
    ...(cleaning.uploads === undefined
      ? {}
      : {
          async *uploads(prefix, signal) {
            for await (const page of cleaning.uploads?.(prefix, signal) ?? []) {
              requests.list++;
              yield page;
            }
          },
        }),
    ...(cleaning.abort === undefined
      ? {}
      : {
          async abort(upload, signal) {
            requests.delete++;
            await cleaning.abort?.(upload, signal);
          },
        }),
  };
}

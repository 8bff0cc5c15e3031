import type { StoredObject } from './object-store.js';

/** An object that the service did not delete, and why. */
export interface Refused {
  readonly key: string;
  readonly reason: string;
}

/** An upload in parts that has not ended. */
export interface OpenUpload {
  readonly key: string;
  readonly id: string;
  /** When it began, in milliseconds since 1970, by the clock of the service. */
  readonly begun: number;
}

/** What a service can do beyond reading and writing, for gc and touch. */
export interface ObjectCleaning {
  /**
   * Deletes an object on the condition that nobody has written or touched it since, where the service knows such a condition.
   *
   * @returns false where somebody has
   */
  removeUnchanged(object: StoredObject, signal?: AbortSignal): Promise<boolean>;
  /**
   * Deletes objects, as many in one request as the service takes. That one is missing is no error.
   *
   * @returns those that are still there
   */
  removeAll(keys: readonly string[], signal?: AbortSignal): Promise<readonly Refused[]>;
  /**
   * Makes an object as young as a new one for the rules of the service that count days, whatever BuildKit does.
   *
   * @returns false where the service does not
   */
  refresh(object: StoredObject, signal?: AbortSignal): Promise<boolean>;
  /**
   * The uploads below a prefix that have not ended, in pages. Left out where the service drops them itself.
   *
   * @throws CacheError for a listing that is not whole, and where the service does not list them
   */
  uploads?(prefix: string, signal?: AbortSignal): AsyncIterable<readonly OpenUpload[]>;
  /** Ends an upload, and frees its parts. That it has ended is no error. */
  abort?(upload: OpenUpload, signal?: AbortSignal): Promise<void>;
  /** What keeps the space of a deleted object taken, as sentences with what to do; none where the service does not say. */
  retention(signal?: AbortSignal): Promise<readonly string[]>;
}

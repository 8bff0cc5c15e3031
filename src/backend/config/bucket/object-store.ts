import { CacheError } from '../../../errors.js';
import type { Content, ObjectOrigin } from '../../../oci/content.js';
import type { BlobId } from '../../../oci/descriptor.js';
import type { ObjectCleaning } from './object-cleaning.js';

/** An object of a bucket. */
export interface StoredObject {
  readonly key: string;
  /** In bytes. */
  readonly size: number;
  /** In milliseconds since 1970, by the clock of the service. */
  readonly modified: number;
  /** Whether it is in an archive, so that nobody can read it at present. */
  readonly isArchived?: true;
  /** What the service calls these bytes, where it says so: an object of other bytes has another ETag. */
  readonly etag?: string | undefined;
}

/**
 * What a service says of an object. `unknown`: it does not say whether there is one, as S3 without the right to list a
 * bucket; the problem names the right that is missing.
 */
export type Answer<T> =
  | { readonly state: 'there'; readonly value: T }
  | { readonly state: 'missing' }
  | { readonly state: 'unknown'; readonly problem: CacheError };

/** An upload that somebody else ended before it was whole. To send the bytes again may help. */
export class LostUpload extends CacheError {}

/**
 * The objects of one bucket, in a service that has no other notion of a cache. Every request is repeated by the rules of
 * the driver before it fails.
 */
export interface ObjectStore {
  /** The bucket, for messages. */
  readonly name: string;
  /** What an object is called in messages. */
  nameOf(key: string): string;
  /**
   * The bytes of an object, unverified. Reading goes on where a connection broke. Reading an object that is missing throws
   * CacheError CORRUPT, as that of an object that nobody can read at present.
   *
   * @param size - in bytes
   */
  content(key: string, size: number): Content;
  /**
   * The bytes of a small object.
   *
   * @param limit - the most that is held in memory, in bytes
   * @throws CacheError FAILED for an object over the limit
   */
  read(key: string, limit: number, signal?: AbortSignal): Promise<Answer<Buffer>>;
  /** An object in an archive counts as missing. */
  head(key: string, signal?: AbortSignal): Promise<Answer<StoredObject>>;
  /**
   * The objects whose keys start with a prefix, by their keys, in pages of up to 1000 objects.
   *
   * @throws CacheError for a listing that is not whole: cut off, with a page twice, out of order
   */
  list(prefix: string, signal?: AbortSignal): AsyncIterable<readonly StoredObject[]>;
  /**
   * Stores an object: the whole of it or nothing. The bytes are read once.
   *
   * @param size - of all bytes
   * @throws LostUpload where the bytes have to be sent again
   */
  put(key: string, bytes: AsyncIterable<Uint8Array>, size: number, signal?: AbortSignal): Promise<void>;
  /**
   * As `put`, for an object whose key says what its bytes are: one of the same size that another writer stored meanwhile
   * stays. Left out where BuildKit does not do it.
   */
  create?(key: string, bytes: AsyncIterable<Uint8Array>, size: number, signal?: AbortSignal): Promise<void>;
  /**
   * Makes an object as young as a new one, for buckets whose objects expire by age. Left out where BuildKit does not do it.
   *
   * @returns false where the service does not
   */
  touch?(object: StoredObject, signal?: AbortSignal): Promise<boolean>;
  /**
   * Copies an object within the service.
   *
   * @returns false for an object that is missing
   * @throws CacheError for a copy that the service does not have afterwards, whatever it answered
   */
  copy(object: StoredObject, to: string, signal?: AbortSignal): Promise<boolean>;
  /**
   * Copies an object of another bucket, or of this one, to a key that stands for the blob. What the service has afterwards
   * is compared with the blob by its size, and by its digest where the service tells it.
   *
   * @returns false where the service does not copy it, or the copy is not the blob: then the bytes have to be sent
   */
  copyFrom?(from: ObjectOrigin, to: string, blob: BlobId, signal?: AbortSignal): Promise<boolean>;
  /** Deletes an object. To delete one that is missing is no error. */
  remove(key: string, signal?: AbortSignal): Promise<void>;
  readonly cleaning: ObjectCleaning;
}

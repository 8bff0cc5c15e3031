import type { CacheError } from '../../../errors.js';

/** An entry that a look-up has found. */
export interface CacheEntry {
  /** Of the entry, which begins with the key that was asked for. */
  readonly key: string;
  /** Where its bytes are, with the right to read them: a secret, for some minutes. */
  readonly url: URL;
}

/** A key that is reserved for an upload. */
export interface Reservation {
  /**
   * Sends the bytes.
   *
   * @param size - of all bytes
   * @throws CacheError; ExpiredUpload where the right to write has run out
   */
  send(bytes: AsyncIterable<Uint8Array>, size: number, signal: AbortSignal | undefined): Promise<void>;
  /** Ends the upload: the entry can be found from now on. @throws GhaFailure, CacheError */
  commit(size: number, signal: AbortSignal | undefined): Promise<void>;
}

/** Why there is no reservation. `own`: an earlier attempt of this request may have reserved the key. */
export type Taken = 'taken' | 'own';

/** The cache service of GitHub Actions, in one of its two versions: immutable entries, found by the beginning of their key. */
export interface CacheService {
  /**
   * The newest entry whose key begins with `key`, in the scopes of the token; undefined where there is none.
   *
   * @throws GhaFailure, CacheError
   */
  find(key: string, signal: AbortSignal | undefined): Promise<CacheEntry | undefined>;
  /**
   * Reserves a key.
   *
   * @throws CacheError DENIED where the job may not write
   */
  reserve(key: string, signal: AbortSignal | undefined): Promise<Reservation | Taken>;
}

/** The right to write an entry has run out while its bytes were sent. */
export class ExpiredUpload extends Error {
  /** The error where a second attempt fails as well. */
  readonly described: CacheError;

  constructor(described: CacheError) {
    super('expired');
    this.described = described;
  }
}

import type { Digest } from '../../oci/digest.js';
import type { Access } from '../access.js';
import type { OpenContent } from '../content-answer.js';

/** An entry that answers a look-up. */
export interface FoundEntry {
  readonly key: string;
  readonly ref: string;
  /** The blob that holds its bytes. */
  readonly digest: Digest;
  readonly size: number;
  /** In milliseconds since 1970. */
  readonly created: number;
}

/** What names an entry: an entry is never changed. */
export interface EntryId {
  readonly key: string;
  readonly version: string;
  /** The scope of GitHub that it is in. */
  readonly ref: string;
}

/** Bytes that come in pieces, in any order. Disposal gives them up. */
export interface PieceUpload extends AsyncDisposable {
  /** Keeps a piece. A piece of the same id replaces it. */
  put(id: string, bytes: AsyncIterable<Uint8Array>): Promise<number>;
  /** The size of a piece that was kept, in bytes. */
  sizeOf(id: string): number | undefined;
  /** Puts pieces together: these are the bytes from now on. @returns false for an unknown piece */
  join(ids: readonly string[]): Promise<boolean>;
  /** Of the bytes that were put together; undefined before that. */
  readonly size: number | undefined;
}

/** Why an entry was not stored. */
export type Rejection = 'digest' | 'format' | 'missing blobs';

/** What the cache service of GitHub needs of a store. */
export interface GhaStore {
  /** The entry that answers: its own scope before others, and an exact key before a longer one. Counts as its use. */
  find(access: Access, keys: readonly string[], version: string): Promise<FoundEntry | undefined>;
  /** Whether an entry is here, whole. */
  has(id: EntryId): Promise<boolean>;
  open(digest: Digest): Promise<OpenContent | undefined>;
  /** Begins an upload. @throws Refusal 507 */
  begin(): Promise<PieceUpload>;
  /** Stores an entry, whole: from then on it answers. */
  commit(id: EntryId, upload: PieceUpload): Promise<Rejection | undefined>;
}

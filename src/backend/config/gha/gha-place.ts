import { parallel } from '../../../bytes/parallel.js';
import type { Content } from '../../../oci/content.js';
import type { BlobId } from '../../../oci/descriptor.js';
import type { Digest } from '../../../oci/digest.js';
import { blobIn, blobKey } from './cache-keys.js';
import type { CacheEntry, CacheService } from './cache-service.js';
import { type Download, entryContent, entrySize } from './entry-download.js';
import type { GhaConnection } from './gha-connection.js';
import { GhaFailure, isPolicy } from './gha-error.js';
import type { GhaSettings } from './gha-settings.js';

/** How many requests the service gets at once; most of the time goes by on the way. */
export const CONCURRENCY = 8;
const LOOKS_AT_ONCE = 16;

/** The entries that one operation reads and writes in a cache service. */
export class GhaPlace {
  readonly settings: GhaSettings;
  readonly connection: GhaConnection;
  readonly service: CacheService;
  readonly note: (text: string) => void;
  /** Whether the job may write and not read: what is in the service is not known then. */
  isBlind: boolean;
  /** The blobs that were found, with the addresses of their bytes. */
  readonly #found = new Map<Digest, CacheEntry>();

  constructor(
    settings: GhaSettings,
    connection: GhaConnection,
    service: CacheService,
    { note, isBlind = false }: { readonly note: (text: string) => void; readonly isBlind?: boolean },
  ) {
    this.settings = settings;
    this.connection = connection;
    this.service = service;
    this.note = note;
    this.isBlind = isBlind;
  }

  /** The newest entry whose key begins with `key`. An export whose job may not read finds nothing. */
  async find(key: string, signal: AbortSignal | undefined): Promise<CacheEntry | undefined> {
    if (this.isBlind) return undefined;
    try {
      return await this.service.find(key, signal);
    } catch (error) {
      if (!(error instanceof GhaFailure)) throw error;
      if (this.connection.side === 'import' || !isPolicy(error.refusal)) throw error.described;
      this.isBlind = true;
      return undefined;
    }
  }

  /** Which of some blobs the service has. */
  async look(digests: Iterable<Digest>, signal: AbortSignal | undefined): Promise<ReadonlySet<Digest>> {
    const wanted = [...new Set(digests)];
    await parallel(wanted, LOOKS_AT_ONCE, signal, async (digest, inner) => {
      await this.findBlob(digest, undefined, inner);
    });
    return new Set(wanted.filter((digest) => this.#found.has(digest)));
  }

  /**
   * The entry of a blob.
   *
   * @param old - asks again where this one is what is known
   */
  async findBlob(
    digest: Digest,
    old: CacheEntry | undefined,
    signal: AbortSignal | undefined,
  ): Promise<CacheEntry | undefined> {
    const known = this.#found.get(digest);
    if (known !== undefined && known !== old) return known;
    this.#found.delete(digest);
    const entry = await this.find(blobKey(digest), signal);
    if (entry === undefined || blobIn(entry.key) !== digest) return undefined;
    this.#found.set(digest, entry);
    return entry;
  }

  /** What is known of a blob does not count any more: its entry was deleted, or stored. */
  forget(digest: Digest): void {
    this.#found.delete(digest);
  }

  /** The bytes of a blob, unverified. */
  blob({ digest, size }: BlobId): Content {
    return entryContent(this.#download(digest, size));
  }

  /** How large a blob is, in bytes; undefined where there is none. */
  async sizeOf(digest: Digest, signal: AbortSignal | undefined): Promise<number | undefined> {
    if ((await this.findBlob(digest, undefined, signal)) === undefined) return undefined;
    return entrySize(this.#download(digest, 0), signal);
  }

  #download(digest: Digest, size: number): Download {
    return {
      connection: this.connection,
      base: this.settings.url,
      what: `blob ${digest}`,
      size,
      find: (old, signal) => this.findBlob(digest, old, signal),
    };
  }

  /** The bytes of an entry that was found, unverified. @param size - the most that is read, in bytes */
  entry(entry: CacheEntry, size: number): Content {
    let known: CacheEntry | undefined = entry;
    return entryContent({
      connection: this.connection,
      base: this.settings.url,
      what: entry.key,
      size,
      find: async (old, signal) => {
        if (old !== known) return known;
        const again = await this.find(entry.key, signal);
        known = again?.key === entry.key ? again : undefined;
        return known;
      },
    });
  }
}

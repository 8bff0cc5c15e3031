import { CacheError } from '../../errors.js';
import type { Content } from '../../oci/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { type Digest, isKnownAlgorithm, splitDigest } from '../../oci/digest.js';
import type { BlobSource } from './sources.js';

/** A blob that a source does not have, or has damaged. */
export interface LackedBlob {
  readonly digest: Digest;
  readonly from: string;
  readonly reason: string;
}

/** What was made of a copy, and where that was. */
export interface Found<T> {
  readonly value: T;
  readonly from: string;
}

/** The good copies of blobs that the sources have. */
export class Copies {
  readonly #sources: readonly BlobSource[];
  readonly #signal: AbortSignal | undefined;
  readonly #lacked = new Map<string, LackedBlob>();

  constructor(sources: readonly BlobSource[], signal: AbortSignal | undefined) {
    this.#sources = sources;
    this.#signal = signal;
  }

  /** What was asked for in vain, where it was. */
  get lacked(): readonly LackedBlob[] {
    return [...this.#lacked.values()];
  }

  /**
   * Asks one source after the other, until one has a good copy.
   *
   * @param take - reads and checks the bytes
   * @throws CacheError when a source cannot be asked: it may have the blob
   */
  async first<T>(
    blob: Descriptor,
    take: (content: Content, from: string) => Promise<T>,
  ): Promise<Found<T> | undefined> {
    const { digest } = blob;
    // What cannot be checked is not taken.
    if (!isKnownAlgorithm(splitDigest(digest)[0])) return undefined;
    for (const source of this.#sources) {
      const from = source.name;
      const lacks = (reason: string) => this.#lacked.set(`${from} ${digest}`, { digest, from, reason });
      const content = await source.content(blob, this.#signal);
      if (content === undefined) {
        lacks(`${from}: blob ${digest} is not in this cache`);
        continue;
      }
      try {
        return { value: await take(content, from), from };
      } catch (error) {
        if (!(error instanceof CacheError) || (error.code !== 'CORRUPT' && error.code !== 'NOT_FOUND')) throw error;
        lacks(error.message);
      }
    }
    return undefined;
  }
}

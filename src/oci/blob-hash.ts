import { createHash, type Hash } from 'node:crypto';
import { CacheError } from '../errors.js';
import type { BlobId } from './descriptor.js';
import { type Digest, type DigestAlgorithm, hashDigest, hasherFor } from './digest.js';

/** Hashes the bytes of a blob that is being made, and counts them. */
export class BlobHash {
  readonly #hash = createHash('sha256');
  #size = 0;

  update(chunk: Uint8Array): void {
    this.#hash.update(chunk);
    this.#size += chunk.length;
  }

  /** The blob that the bytes are. To be called once, at the end. */
  finish(): BlobId {
    return { digest: hashDigest('sha256', this.#hash), size: this.#size };
  }
}

/** Checks that bytes are the blob that a descriptor names: its size first, then its digest. */
export class BlobCheck {
  readonly #expected: BlobId;
  readonly #where: string;
  readonly #hash: Hash;
  readonly #algorithm: DigestAlgorithm;
  #size = 0;

  /** @param where - where the bytes come from, for messages */
  constructor(expected: BlobId, where: string) {
    this.#expected = expected;
    this.#where = where;
    const { algorithm, hash } = hasherFor(expected.digest);
    this.#algorithm = algorithm;
    this.#hash = hash;
  }

  /** @throws CacheError CORRUPT at the first byte too many */
  update(chunk: Uint8Array): void {
    this.#size += chunk.length;
    if (this.#size > this.#expected.size) {
      throw wrongSize(this.#expected, `more than ${this.#expected.size}`, this.#where);
    }
    this.#hash.update(chunk);
  }

  /** To be called once, at the end. @throws CacheError CORRUPT */
  finish(): void {
    if (this.#size < this.#expected.size) throw wrongSize(this.#expected, `${this.#size}`, this.#where);
    const digest = hashDigest(this.#algorithm, this.#hash);
    if (digest !== this.#expected.digest) throw wrongBytes(this.#expected, digest, this.#where);
  }
}

/** The error for a blob whose bytes hash to something else than its descriptor says. */
export function wrongBytes(expected: BlobId, found: Digest, where: string): CacheError {
  return new CacheError('CORRUPT', `${where}: blob ${expected.digest} is damaged: its bytes hash to ${found}`, {
    hint: 'fetch the blob again from the source of the cache, or export the cache again',
    wrong: 'digest',
    expected: expected.digest,
    found,
  });
}

/** The error for a blob whose size is not what its descriptor says. */
export function wrongSize(expected: BlobId, found: string, where: string): CacheError {
  return new CacheError(
    'CORRUPT',
    `${where}: blob ${expected.digest} has the wrong size: ${found} bytes instead of ${expected.size}`,
    {
      hint: 'the blob was probably cut short while it was written; export or copy the cache again',
      wrong: 'size',
      expected: `${expected.size} bytes`,
      found: `${found} bytes`,
    },
  );
}

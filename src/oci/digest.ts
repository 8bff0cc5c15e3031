import { createHash, type Hash } from 'node:crypto';
import { CacheError } from '../errors.js';

declare const validated: unique symbol;

/** A content digest, `algorithm:encoded`, whose form was checked. It is safe as part of a path. */
export type Digest = string & { readonly [validated]: true };

/** The supported algorithms; image-spec descriptor.md, "Registered algorithms". */
export type DigestAlgorithm = 'sha256' | 'sha512';

// image-spec descriptor.md, "Digests". Neither `/` nor `..` can occur in it.
const GRAMMAR = /^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/;
const SHA256 = /^sha256:[0-9a-f]{64}$/;
const HEX_LENGTH: Readonly<Record<DigestAlgorithm, number>> = { sha256: 64, sha512: 128 };

/** Whether an algorithm is supported. */
export function isKnownAlgorithm(algorithm: string): algorithm is DigestAlgorithm {
  return Object.hasOwn(HEX_LENGTH, algorithm);
}

/** Whether the text has the form of a digest, also of an algorithm that is not supported. */
export function isDigest(text: unknown): text is Digest {
  if (typeof text !== 'string') return false;
  // Fast path for sha256: an index of many caches has hundreds of thousands of digests.
  if (SHA256.test(text)) return true;
  if (text.length > 512 || !GRAMMAR.test(text)) return false;
  const [algorithm, encoded] = aroundColon(text);
  return !isKnownAlgorithm(algorithm) || (encoded.length === HEX_LENGTH[algorithm] && /^[0-9a-f]+$/.test(encoded));
}

/**
 * Checks the form of a digest.
 *
 * @param where - the place of the text, for the message
 * @throws CacheError CORRUPT
 */
export function parseDigest(text: string, where: string): Digest {
  if (isDigest(text)) return text;
  throw new CacheError('CORRUPT', `${where}: ${JSON.stringify(text.slice(0, 200))} is not a digest`, {
    hint: 'a digest looks like sha256: and 64 lower-case hex digits',
  });
}

/** The algorithm and the encoded part. */
export function splitDigest(digest: Digest): readonly [algorithm: string, encoded: string] {
  return aroundColon(digest);
}

function aroundColon(text: string): readonly [algorithm: string, encoded: string] {
  const colon = text.indexOf(':');
  return [text.slice(0, colon), text.slice(colon + 1)];
}

/** The sha256 of bytes in memory. */
export function sha256(bytes: Uint8Array | string): Digest {
  return hashDigest('sha256', createHash('sha256').update(bytes));
}

/**
 * A hash for the algorithm of a digest.
 *
 * @throws CacheError FAILED for an algorithm that is not supported
 */
export function hasherFor(digest: Digest): { readonly algorithm: DigestAlgorithm; readonly hash: Hash } {
  const [algorithm] = splitDigest(digest);
  if (!isKnownAlgorithm(algorithm)) {
    throw new CacheError('FAILED', `${digest} cannot be checked: only sha256 and sha512 can be computed`);
  }
  return { algorithm, hash: createHash(algorithm) };
}

/** Finishes a hash, and returns its digest. */
export function hashDigest(algorithm: DigestAlgorithm, hash: Hash): Digest {
  return `${algorithm}:${hash.digest('hex')}` as Digest;
}

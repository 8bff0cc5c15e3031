import { createHash, type Hash } from 'node:crypto';
import { CacheError } from '../errors.js';
import { type Content, verified } from '../oci/content.js';
import type { BlobId } from '../oci/descriptor.js';
import { type Digest, hashDigest } from '../oci/digest.js';
import type { Encoding } from './compression.js';
import { decode } from './decode.js';
import { encode } from './encode.js';
import { limited, MAX_LAYER_SIZE } from './limit.js';
import { type Sniffed, sniff } from './sniff.js';

/** A layer that is packed anew while it is read. */
export interface Recompressed {
  readonly content: Content;
  /** The digest of the tar; there once `content` was read to its end. */
  readonly diffID: () => Digest;
}

export interface RecompressOptions {
  readonly blob: BlobId;
  /** What the source says of its uncompressed bytes, to be checked; for eStargz that includes the table's tar. */
  readonly diffID: Digest | undefined;
  readonly encoding: Encoding;
  /** The most that the layer may unpack to, in bytes. */
  readonly maxSize?: number | undefined;
  /** Where the source is, for messages. */
  readonly where: string;
}

/**
 * Packs one layer anew, without ever re-creating its tar: the uncompressed bytes stay what they were, and so does the
 * diffID. From eStargz the original tar comes out, without the table of contents that was put behind it.
 *
 * The source's size, digest and diffID are checked on the way; reading `content` throws CacheError CORRUPT where one
 * is wrong.
 */
export function recompress(source: Content, options: RecompressOptions): Recompressed {
  let diffID: Digest | undefined;
  return {
    content: {
      async *open(_range, signal) {
        diffID = undefined;
        const sniffed = await sniff(source, options.blob.size, signal);
        const tarHash = createHash('sha256');
        yield* encode(hashed(checkedTar(source, sniffed, options, signal), tarHash), options.encoding);
        diffID = hashDigest('sha256', tarHash);
      },
    },
    diffID() {
      if (diffID === undefined) throw new Error('the layer has not been read to its end');
      return diffID;
    },
  };
}

/** The digest of the tar inside a blob, whose bytes are checked on the way. */
export async function digestTar(source: Content, blob: BlobId, where: string, signal?: AbortSignal): Promise<Digest> {
  const hash = createHash('sha256');
  const { compression } = await sniff(source, blob.size, signal);
  const tar = decode(verified(source.open({}, signal), blob, where), compression, `${where}: blob ${blob.digest}`);
  for await (const chunk of tar) hash.update(chunk);
  return hashDigest('sha256', hash);
}

async function* checkedTar(
  source: Content,
  { compression, tocOffset }: Sniffed,
  { blob, diffID, where, maxSize = MAX_LAYER_SIZE }: RecompressOptions,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const name = `${where}: blob ${blob.digest}`;
  const bytes = verified(source.open({}, signal), blob, where);
  const whole = createHash('sha256');
  if (tocOffset === undefined) {
    yield* hashed(limited(decode(bytes, compression, name), maxSize, name), whole);
  } else {
    // The members before the table are the original tar; the rest is read for the digests alone.
    const parts = splitAt(bytes, tocOffset);
    try {
      yield* hashed(limited(decode(parts.head, compression, name), maxSize, name), whole);
      for await (const chunk of limited(decode(parts.tail, compression, name), maxSize, name)) whole.update(chunk);
    } finally {
      // Neither part closes the source when it is given up.
      await bytes.return();
    }
  }
  const found = hashDigest('sha256', whole);
  if (diffID !== undefined && found !== diffID) {
    throw new CacheError('CORRUPT', `${name}: its uncompressed bytes hash to ${found}, and its diffID is ${diffID}`, {
      hint: 'the manifest and the layer do not belong together; export the cache anew',
    });
  }
}

async function* hashed(bytes: AsyncIterable<Uint8Array>, hash: Hash): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of bytes) {
    hash.update(chunk);
    yield chunk;
  }
}

/** One stream as two, the second of which can be read once the first has been. */
function splitAt(bytes: AsyncIterable<Uint8Array>, offset: number) {
  const iterator = bytes[Symbol.asyncIterator]();
  let rest: Uint8Array = new Uint8Array();
  return {
    head: (async function* () {
      for (let left = offset; left > 0;) {
        const next = await iterator.next();
        if (next.done === true) return;
        yield next.value.subarray(0, left);
        rest = next.value.subarray(left);
        left -= next.value.length;
      }
    })(),
    tail: (async function* () {
      yield rest;
      for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) yield next.value;
    })(),
  };
}

import { createHash } from 'node:crypto';
import { CacheError } from '../errors.js';
import { type Content, verified } from '../oci/content.js';
import type { BlobId } from '../oci/descriptor.js';
import { type Digest, hashDigest, isKnownAlgorithm, splitDigest } from '../oci/digest.js';
import type { Compression, Encoding } from './compression.js';
import { decode } from './decode.js';
import { encode } from './encode.js';
import type { Estargz } from './estargz/encode-estargz.js';
import { readToc } from './estargz/read-toc.js';
import { limited, MAX_LAYER_SIZE, WORTH_A_THREAD } from '../bytes/limit.js';
import { type Sniffed, sniff } from './sniff.js';
import { inThread } from '../thread/thread.js';

/** What a layer became, beside its bytes. */
export interface Packed {
  /** The digest of what the blob unpacks to. */
  readonly diffID: Digest;
  /** There for estargz. */
  readonly estargz?: Estargz;
  readonly source: Unpacked;
}

/** What a blob turned out to be while it was read. */
export interface Unpacked {
  readonly compression: Compression;
  /** The digest of all that it unpacks to; for eStargz that includes the table's tar. */
  readonly diffID: Digest;
  /** Of all that it unpacks to, in bytes. */
  readonly size: number;
  /** The digest of the tar that it was made from: of eStargz without the table's. */
  readonly tar: Digest;
  /** The same as sha512, where that was asked for. */
  readonly sha512?: Digest | undefined;
  /** Of the table of contents in an eStargz blob. */
  readonly tocDigest: Digest | undefined;
  /** How many zeros are behind the end of a gzip stream, which Go's own reader refuses. */
  readonly padding?: number | undefined;
}

/** A layer that is packed anew while it is read. */
export interface Recompressed {
  readonly content: Content;
  /** There once `content` was read or written to its end. */
  readonly packed: () => Packed;
}

/** All that there is to know about it; plain data, which can be handed to another thread. */
export interface RecompressOptions {
  readonly blob: BlobId;
  /** What the source says of its uncompressed bytes, to be checked; for eStargz that includes the table's tar. */
  readonly diffID: Digest | undefined;
  /** Whether to hash the uncompressed bytes with sha512 as well; a diffID of that kind asks for it too. */
  readonly sha512?: boolean | undefined;
  /** What the source says of the table of contents in an eStargz blob, to be checked. */
  readonly tocDigest?: string | undefined;
  readonly encoding: Encoding;
  /** The most that the layer may unpack to, in bytes. */
  readonly maxSize?: number | undefined;
  /** What all zstd windows that are open at once may have together, in bytes; 1 GiB by default. */
  readonly windowMemory?: number | undefined;
  /** How many threads zstd may use; as many as there are cores by default. */
  readonly threads?: number | undefined;
  /** Where the source is, for messages. */
  readonly where: string;
}

/**
 * Packs one layer anew, without ever re-creating its tar: the uncompressed bytes stay what they were, and so does the
 * diffID. From eStargz the original tar comes out, without the table of contents that was put behind it.
 *
 * The source's size, digest and diffID are checked on the way; reading `content` throws CacheError CORRUPT where one
 * is wrong. From a file to a file, the work is done in another thread.
 */
export function recompress(source: Content, options: RecompressOptions): Recompressed {
  let packed: Packed | undefined;
  const writeTo: NonNullable<Content['writeTo']> = async (file, signal) => {
    packed = undefined;
    const handle = await source.openFile?.();
    if (handle === undefined) throw new Error('there is no file to read from');
    try {
      const job = { kind: 'recompress', from: handle.fd, to: file.fd, options } as const;
      const result = await inThread(job, { signal, onRead: source.onRead });
      packed = result.packed;
      return result.blob;
    } finally {
      await handle.close();
    }
  };
  return {
    content: {
      ...(source.openFile !== undefined && options.blob.size >= WORTH_A_THREAD ? { writeTo } : {}),
      async *open(_range, signal) {
        packed = undefined;
        packed = yield* pack(source, options, signal);
      },
    },
    packed() {
      if (packed === undefined) throw new Error('the layer has not been read to its end');
      return packed;
    },
  };
}

/** What is known of a blob, to be checked. */
export type UnpackOptions = Omit<RecompressOptions, 'encoding' | 'threads'>;

/**
 * Unpacks a blob to nowhere. Its size, digest, diffID and table of contents are checked on the way; a file of some size
 * is read in another thread.
 *
 * @throws CacheError CORRUPT; FAILED for more bytes than `maxSize`
 */
export async function unpack(source: Content, options: UnpackOptions, signal?: AbortSignal): Promise<Unpacked> {
  if (source.openFile !== undefined && options.blob.size >= WORTH_A_THREAD) {
    const handle = await source.openFile();
    try {
      return await inThread({ kind: 'unpack', from: handle.fd, options }, { signal, onRead: source.onRead });
    } finally {
      await handle.close();
    }
  }
  const sniffed = await sniff(source, options.blob.size, signal);
  const tar = originalTar(source, sniffed, options, signal);
  for (let next = await tar.next(); ; next = await tar.next()) if (next.done === true) return next.value;
}

async function* pack(
  source: Content,
  options: RecompressOptions,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, Packed, undefined> {
  const sniffed = await sniff(source, options.blob.size, signal);
  let unpacked: Unpacked | undefined;
  const tar = withReturn(originalTar(source, sniffed, options, signal), (value) => {
    unpacked = value;
  });
  const name = `${options.where}: blob ${options.blob.digest}`;
  const estargz = yield* encode(tar, options.encoding, { where: name, threads: options.threads });
  if (unpacked === undefined) throw new Error('the tar was not read to its end');
  return estargz === undefined
    ? { diffID: unpacked.tar, source: unpacked }
    : { diffID: estargz.diffID, estargz, source: unpacked };
}

/** Passes on what a generator yields, and tells what it returns. */
async function* withReturn<T, R>(
  generator: AsyncGenerator<T, R, undefined>,
  onReturn: (value: R) => void,
): AsyncGenerator<T, void, undefined> {
  onReturn(yield* generator);
}

/** The tar that a layer was made from. */
async function* originalTar(
  source: Content,
  { compression, tocOffset }: Sniffed,
  { blob, diffID, sha512, tocDigest, where, maxSize = MAX_LAYER_SIZE, windowMemory }: UnpackOptions,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, Unpacked, undefined> {
  const name = `${where}: blob ${blob.digest}`;
  const bytes = verified(source.open({}, signal), blob, where);
  const whole = createHash('sha256');
  const other = sha512 === true || diffID?.startsWith('sha512:') === true ? createHash('sha512') : undefined;
  let size = 0;
  let padding: number | undefined;
  const onPadding = (zeros: number) => {
    padding = zeros;
  };
  const options = { windowMemory, signal, onPadding };
  const digests = () => ({
    diffID: hashDigest('sha256', whole),
    ...(other === undefined ? {} : { sha512: hashDigest('sha512', other) }),
  });
  const unpacked = async function* (part: AsyncIterable<Uint8Array>) {
    for await (const chunk of limited(decode(part, compression, name, options), maxSize, name)) {
      whole.update(chunk);
      other?.update(chunk);
      size += chunk.length;
      yield chunk;
    }
  };
  if (tocOffset === undefined) {
    yield* unpacked(bytes);
    if (tocDigest !== undefined) throw wrongToc(undefined, tocDigest, name);
    const found = digests();
    checkDiffID(found, diffID, name);
    return { compression, tar: found.diffID, size, ...found, tocDigest: undefined, padding };
  }
  // The members before the table are the original tar; the rest is read for the digest of the whole alone.
  const parts = splitAt(bytes, tocOffset);
  let original: Digest;
  let toc: Digest | undefined;
  try {
    // Nothing before the table is an empty layer, and no gzip.
    if (tocOffset > 0) yield* unpacked(parts.head);
    original = hashDigest('sha256', whole.copy());
    toc = await readToc(unpacked(parts.tail), name);
    if (toc === undefined || toc !== (tocDigest ?? toc)) throw wrongToc(toc, tocDigest, name);
  } finally {
    // Neither part closes the source when it is given up.
    await bytes.return();
  }
  const found = digests();
  checkDiffID(found, diffID, name);
  return { compression, tar: original, size, ...found, tocDigest: toc };
}

function wrongToc(found: Digest | undefined, tocDigest: string | undefined, name: string): CacheError {
  const should = `its table of contents should have the digest ${tocDigest}, but`;
  const wrong =
    tocDigest === undefined
      ? 'there is no table of contents where its footer has one'
      : `${should} ${found === undefined ? 'it has none' : `that has ${found}`}`;
  return new CacheError('CORRUPT', `${name}: ${wrong}`, {
    hint: 'the manifest and the layer do not belong together; export the cache anew',
    wrong: 'toc',
    expected: tocDigest,
    found,
  });
}

/** Digests of kinds that cannot be computed here are not checked. */
function checkDiffID(
  { diffID, sha512 }: Pick<Unpacked, 'diffID' | 'sha512'>,
  said: Digest | undefined,
  name: string,
): void {
  const found = said?.startsWith('sha512:') === true ? (sha512 ?? diffID) : diffID;
  if (said === undefined || found === said || !isKnownAlgorithm(splitDigest(said)[0])) return;
  throw new CacheError('CORRUPT', `${name}: its uncompressed bytes hash to ${found}, and its diffID is ${said}`, {
    hint: 'the manifest and the layer do not belong together; export the cache anew',
    wrong: 'diffID',
    expected: said,
    found,
  });
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

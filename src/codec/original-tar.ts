import { createHash } from 'node:crypto';
import { limited } from '../bytes/limited.js';
import { splitAt } from '../bytes/split.js';
import { CacheError } from '../errors.js';
import { type Content, verified } from '../oci/content.js';
import type { BlobId } from '../oci/descriptor.js';
import { type Digest, hashDigest, isKnownAlgorithm, splitDigest } from '../oci/digest.js';
import type { Compression } from './compression.js';
import { decode } from './decode.js';
import { readToc } from './estargz/read-toc.js';
import { MAX_LAYER_SIZE } from './limits.js';
import { sniff } from './sniff.js';

/** The statements about a blob that are checked, and the limits of decompression; plain data, so that a thread can get it. */
export interface DecompressOptions {
  readonly blob: BlobId;
  /** The diffID in the descriptor; for eStargz it includes the tar of the table of contents. */
  readonly diffID: Digest | undefined;
  /** Whether to hash the uncompressed bytes with sha512 as well; a diffID of that kind asks for it too. */
  readonly sha512?: boolean | undefined;
  /** The digest of an eStargz blob's table of contents in the descriptor. */
  readonly tocDigest?: string | undefined;
  /** The limit for the decompressed size, in bytes; MAX_LAYER_SIZE by default. */
  readonly maxSize?: number | undefined;
  /** The memory for all zstd windows that are open at once, in bytes; WINDOW_MEMORY by default. */
  readonly windowMemory?: number | undefined;
  /** The place of the blob, for messages. */
  readonly where: string;
}

/** The facts about a decompressed blob. */
export interface Decompressed {
  readonly compression: Compression;
  /** The digest of the decompressed bytes; for eStargz they include the tar of the table of contents. */
  readonly diffID: Digest;
  /** The number of decompressed bytes. */
  readonly size: number;
  /** The digest of the original tar: for eStargz without the tar of the table of contents. */
  readonly tar: Digest;
  /** The diffID as sha512, if requested. */
  readonly sha512?: Digest | undefined;
  /** The digest of an eStargz blob's table of contents. */
  readonly tocDigest: Digest | undefined;
  /** The number of zeros after the end of a gzip stream, which Go's reader refuses. */
  readonly padding?: number | undefined;
}

/**
 * The original tar of a layer; for eStargz without the table of contents. Size, digest, diffID and table of contents are
 * checked while it is read.
 *
 * @throws CacheError CORRUPT; FAILED for more bytes than `maxSize`
 */
export async function* originalTar(
  source: Content,
  { blob, diffID, sha512, tocDigest, where, maxSize = MAX_LAYER_SIZE, windowMemory }: DecompressOptions,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, Decompressed, undefined> {
  const { compression, tocOffset } = await sniff(source, blob.size, signal);
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
  const tooLarge = () =>
    new CacheError('FAILED', `${name} decompresses to more than ${maxSize} bytes`, {
      hint: 'if it is not there to do harm, allow more with --max-layer-size',
    });
  const decompressed = async function* (part: AsyncIterable<Uint8Array>) {
    for await (const chunk of limited(decode(part, compression, name, options), maxSize, tooLarge)) {
      whole.update(chunk);
      other?.update(chunk);
      size += chunk.length;
      yield chunk;
    }
  };
  if (tocOffset === undefined) {
    yield* decompressed(bytes);
    if (tocDigest !== undefined) throw wrongToc(undefined, tocDigest, name);
    const found = digests();
    checkDiffID(found, diffID, name);
    return { compression, tar: found.diffID, size, ...found, tocDigest: undefined, padding };
  }
  // The members before the table are the original tar. The rest is read only for the digest of the blob.
  const parts = splitAt(bytes, tocOffset);
  let original: Digest;
  let toc: Digest | undefined;
  try {
    // No bytes before the table are an empty layer, which is no valid gzip.
    if (tocOffset > 0) yield* decompressed(parts.head);
    original = hashDigest('sha256', whole.copy());
    toc = await readToc(decompressed(parts.tail), name);
    if (toc === undefined || toc !== (tocDigest ?? toc)) throw wrongToc(toc, tocDigest, name);
  } finally {
    // Closing one part does not close the source.
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
    hint: 'the manifest and the layer do not belong together; export the cache again',
    wrong: 'toc',
    expected: tocDigest,
    found,
  });
}

/** Compares digests. A digest with an unsupported algorithm is not checked. */
function checkDiffID(
  { diffID, sha512 }: Pick<Decompressed, 'diffID' | 'sha512'>,
  said: Digest | undefined,
  name: string,
): void {
  const found = said?.startsWith('sha512:') === true ? (sha512 ?? diffID) : diffID;
  if (said === undefined || found === said || !isKnownAlgorithm(splitDigest(said)[0])) return;
  throw new CacheError('CORRUPT', `${name}: its uncompressed bytes hash to ${found}, and its diffID is ${said}`, {
    hint: 'the manifest and the layer do not belong together; export the cache again',
    wrong: 'diffID',
    expected: said,
    found,
  });
}

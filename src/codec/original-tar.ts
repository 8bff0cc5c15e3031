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
import { sniff } from './sniff.js';

/**
 * The most that a layer may decompress to, in bytes, unless something else is asked for. Real layers have some tens of
 * gigabytes at most; a blob that was made to fill disks has no end.
 */
const MAX_LAYER_SIZE = 128 * 1024 ** 3;

/** What is known of a blob, to be checked, and what decompressing it may take; plain data, for another thread too. */
export interface DecompressOptions {
  readonly blob: BlobId;
  /** What the descriptor says of the uncompressed bytes; for eStargz that includes the table's tar. */
  readonly diffID: Digest | undefined;
  /** Whether to hash the uncompressed bytes with sha512 as well; a diffID of that kind asks for it too. */
  readonly sha512?: boolean | undefined;
  /** What the descriptor says of the table of contents in an eStargz blob. */
  readonly tocDigest?: string | undefined;
  /** The most that the layer may decompress to, in bytes. */
  readonly maxSize?: number | undefined;
  /** What all zstd windows that are open at once may have together, in bytes; 1 GiB by default. */
  readonly windowMemory?: number | undefined;
  /** Where the blob is, for messages. */
  readonly where: string;
}

/** What a blob turned out to be when it was decompressed. */
export interface Decompressed {
  readonly compression: Compression;
  /** The digest of all that the blob decompresses to; for eStargz that includes the table's tar. */
  readonly diffID: Digest;
  /** Of all that the blob decompresses to, in bytes. */
  readonly size: number;
  /** The digest of the tar that the blob was made from: of eStargz without the table's. */
  readonly tar: Digest;
  /** The diffID as sha512, where that was asked for. */
  readonly sha512?: Digest | undefined;
  /** Of the table of contents in an eStargz blob. */
  readonly tocDigest: Digest | undefined;
  /** How many zeros are behind the end of a gzip stream, which Go's own reader refuses. */
  readonly padding?: number | undefined;
}

/**
 * The tar that a layer was made from; of eStargz without the table of contents. The size, digest, diffID and table of
 * contents are checked on the way.
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
  // The members before the table are the original tar; the rest is read for the digest of the whole alone.
  const parts = splitAt(bytes, tocOffset);
  let original: Digest;
  let toc: Digest | undefined;
  try {
    // Nothing before the table is an empty layer, and no gzip.
    if (tocOffset > 0) yield* decompressed(parts.head);
    original = hashDigest('sha256', whole.copy());
    toc = await readToc(decompressed(parts.tail), name);
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
    hint: 'the manifest and the layer do not belong together; export the cache again',
    wrong: 'toc',
    expected: tocDigest,
    found,
  });
}

/** Digests of kinds that cannot be computed here are not checked. */
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

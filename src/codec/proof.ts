import type { Proof } from '../graph/statement.js';
import { CacheError } from '../errors.js';
import { type Content, verified } from '../oci/content.js';
import type { Digest } from '../oci/digest.js';
import { type Compression, encodingOf } from './compression.js';
import { recompress } from './recompress.js';
import { compressionOf } from './sniff.js';
import { TAR_BLOCK } from '../tar/block.js';
import { startsTar } from '../tar/start.js';

interface ProofOptions {
  readonly digest: Digest;
  /** The sizes that documents state for the blob, in bytes. If none of them is right, the blob is damaged. */
  readonly sizes: readonly number[];
  /** `head`: look at the first bytes. `whole`: decompress it. Left out for what is no layer. */
  readonly layer?: 'head' | 'whole' | undefined;
  /** The most that a layer may decompress to, in bytes. */
  readonly maxSize?: number | undefined;
  /** The memory for all zstd windows that are open at once, in bytes; WINDOW_MEMORY by default. */
  readonly windowMemory?: number | undefined;
  /** Whether to compute the sha512 of the decompressed bytes as well. */
  readonly sha512?: boolean | undefined;
  /** The place of the blob, for messages. */
  readonly where: string;
  readonly signal?: AbortSignal | undefined;
  /** Called with the number of bytes of each piece that was read or decompressed. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/**
 * Reads a blob to its end, and tells what its bytes prove.
 *
 * @throws CacheError CORRUPT for bytes that are not those of the digest, and for a layer that cannot be decompressed; FAILED
 *   for one that decompresses to more than `maxSize`
 */
export async function prove(content: Content, options: ProofOptions): Promise<Proof> {
  let failure: unknown;
  for (const size of options.sizes) {
    try {
      return await proveOf(content, size, options);
    } catch (error) {
      if (!(error instanceof CacheError) || error.wrong !== 'size') throw error;
      failure ??= error;
    }
  }
  throw failure;
}

async function proveOf(content: Content, size: number, options: ProofOptions): Promise<Proof> {
  const { digest, layer, maxSize, windowMemory, sha512, where, signal, onBytes } = options;
  let head = Buffer.alloc(0);
  const look = (chunk: Uint8Array) => {
    if (head.length < TAR_BLOCK) head = Buffer.concat([head, chunk.subarray(0, TAR_BLOCK - head.length)]);
    onBytes?.(chunk.length);
  };
  if (layer === 'whole') {
    // The blob is the tar: its digest is checked while it is read.
    const encoding = { compression: 'uncompressed' } as const;
    const limits = { maxSize, windowMemory, sha512 };
    const read = recompress(content, { blob: { digest, size }, diffID: undefined, encoding, where, ...limits });
    for await (const chunk of read.content.open({}, signal)) look(chunk);
    const { compression, diffID, sha512: other, tocDigest, padding } = read.result().source;
    const decompressed = { diffID, sha512: other, tocDigest, padding };
    return isUnclear(compression, head) ? { size } : { size, encoding: encodingOf(compression), decompressed };
  }
  for await (const chunk of verified(content.open({}, signal), { digest, size }, where)) look(chunk);
  const compression = compressionOf(head);
  return layer === undefined || isUnclear(compression, head) ? { size } : { size, encoding: compression };
}

/** Whether the bytes may be of any kind, as in an encrypted layer. An empty blob is an empty layer of any type. */
function isUnclear(compression: Compression, head: Buffer): boolean {
  return compression === 'uncompressed' && !(head.length > 0 && startsTar(head));
}

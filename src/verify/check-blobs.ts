import { availableParallelism } from 'node:os';
import { recompress } from '../codec/recompress.js';
import { CacheError, isOutOfReach } from '../errors.js';
import { type Content, verified } from '../oci/content.js';
import { ESTARGZ_TOC_DIGEST } from '../oci/descriptor.js';
import { parallel } from '../parallel.js';
import type { Need } from './walk.js';

/** A blob to be read, and what is known of it. */
export interface Suspect extends Pick<Need, 'descriptor' | 'diffID' | 'isLayer'> {
  readonly content: Content;
}

export interface CheckOptions {
  /** Unpack layers, and check their diffIDs. */
  readonly deep: boolean;
  /** The most that a layer may unpack to, in bytes. */
  readonly maxLayerSize?: number | undefined;
  /** Where the blobs are, for messages. */
  readonly where: string;
  /** Blobs at once; as many as there are cores by default. */
  readonly concurrency?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** After each piece that was read, in bytes. */
  readonly onBytes?: (bytes: number) => void;
}

/**
 * Reads blobs, several at once and the largest first, and calls back with what is wrong with each; undefined when
 * nothing is.
 */
export async function checkBlobs(
  blobs: readonly Suspect[],
  options: CheckOptions,
  onChecked: (blob: Suspect, error: CacheError | undefined) => Promise<void>,
): Promise<void> {
  const largestFirst = [...blobs].toSorted((a, b) => b.descriptor.size - a.descriptor.size);
  const { concurrency = availableParallelism(), signal } = options;
  await parallel(largestFirst, concurrency, signal, async (blob, inner) => {
    let fault: CacheError | undefined;
    try {
      for await (const chunk of bytesOf(blob, options, inner)) options.onBytes?.(chunk.length);
    } catch (error) {
      if (!(error instanceof CacheError) || inner.aborted || isOutOfReach(error)) throw error;
      fault = error;
    }
    await onChecked(blob, fault);
  });
}

function bytesOf(
  { descriptor, diffID, isLayer, content }: Suspect,
  { deep, maxLayerSize, where }: CheckOptions,
  signal: AbortSignal,
): AsyncIterable<Uint8Array> {
  if (!deep || !isLayer) return verified(content.open({}, signal), descriptor, where);
  // The tar as it is: the digests of blob and tar are checked on the way.
  const encoding = { compression: 'uncompressed' } as const;
  const tocDigest = descriptor.annotations?.[ESTARGZ_TOC_DIGEST];
  const options = { blob: descriptor, diffID, tocDigest, encoding, where, maxSize: maxLayerSize };
  return recompress(content, options).content.open({}, signal);
}

import type { Cache, CacheTarget } from '../../backend/backend.js';
import { placesOf, withPlaces } from '../../backend/fallbacks.js';
import type { Compression, Encoding } from '../../codec/compression.js';
import { encoderName } from '../../codec/encoder.js';
import type { Estargz } from '../../codec/estargz/encode-estargz.js';
import type { Conversion } from '../../layout/blobs/conversions.js';
import type { Content } from '../../oci/content.js';
import {
  type Annotations,
  type Descriptor,
  ESTARGZ_TOC_DIGEST,
  ESTARGZ_UNCOMPRESSED_SIZE,
  recompressedLayer,
  UNCOMPRESSED,
} from '../../oci/descriptor.js';
import { type Digest, parseDigest } from '../../oci/digest.js';
import { typeFor } from '../../oci/media-types.js';
import { encodingOf } from './plan.js';

/** A layer, and how it is to be converted. */
export interface Order {
  readonly cache: Cache;
  readonly layer: Descriptor;
  /** What it is now. */
  readonly compression: Compression;
  readonly encoding: Encoding;
  readonly target: CacheTarget;
  readonly threads: number;
  /** The most that the layer may unpack to, in bytes. */
  readonly maxSize: number | undefined;
  /** What all zstd windows that are open at once may have together, in bytes. */
  readonly windowMemory: number | undefined;
  /** Wraps content that is read, to count its bytes. */
  readonly counted: (content: Content) => Content;
}

export interface Converted {
  readonly to: Descriptor;
  /** Whether it was at the target already. */
  readonly isKnown: boolean;
}

/**
 * Brings a layer to the target in another compression. One that was converted before, also by a run that was cut off, is
 * taken from there.
 *
 * @throws CacheError CORRUPT
 */
export async function convert(order: Order, signal: AbortSignal): Promise<Converted> {
  const { cache, layer, encoding, target } = order;
  const encoder = encoderName(encoding);
  const known = await target.conversions?.find(sourceOf(order, signal), encoder, signal);
  if (known !== undefined) return { to: describe(order, known), isKnown: true };
  const made = await withPlaces(placesOf(cache, layer), (content) => recompressTo(order, content, signal));
  const conversion = { from: layer.digest, encoder, ...made };
  await target.conversions?.add(conversion);
  return { to: describe(order, conversion), isKnown: false };
}

/** What tells whether a blob was made from this layer. The diffID of eStargz is not that of its tar. */
function sourceOf(order: Order, signal: AbortSignal) {
  const { cache, layer, compression, maxSize, windowMemory } = order;
  const diffID = diffIDOf(order);
  return {
    blob: layer.digest,
    limits: { maxSize, windowMemory },
    tar: compression === 'estargz' || diffID?.startsWith('sha256:') !== true ? undefined : diffID,
    async readTar() {
      const { decompress } = await import('../../codec/recompress.js');
      const options = { ...claimsOf(order), maxSize, windowMemory, where: cache.name };
      const { tar } = await withPlaces(placesOf(cache, layer), (content) => decompress(content, options, signal));
      return tar;
    },
  };
}

async function recompressTo(
  order: Order,
  content: Content,
  signal: AbortSignal,
): Promise<Pick<Conversion, 'to' | 'diffID' | 'estargz'>> {
  const { cache, encoding, target, threads, maxSize, windowMemory } = order;
  const { recompress } = await import('../../codec/recompress.js');
  const options = { ...claimsOf(order), encoding, threads, maxSize, windowMemory, where: cache.name };
  const recompression = recompress(order.counted(content), options);
  const to = await target.write(recompression.content, undefined, signal);
  const { diffID, estargz } = recompression.result();
  return { to, diffID, estargz };
}

/** What the descriptor of a layer says, to be checked. */
function claimsOf(order: Order) {
  const { layer } = order;
  return { blob: layer, diffID: diffIDOf(order), tocDigest: layer.annotations?.[ESTARGZ_TOC_DIGEST] };
}

function diffIDOf({ cache, layer }: Order): Digest | undefined {
  const claimed = layer.annotations?.[UNCOMPRESSED];
  return claimed === undefined ? undefined : parseDigest(claimed, `${cache.name}: ${UNCOMPRESSED}`);
}

/** The descriptor of what a layer became. The same tar goes on by the diffID that it had, which may be a sha512. */
function describe(order: Order, { to, diffID, estargz }: Conversion): Descriptor {
  const { layer, compression, encoding } = order;
  const isSameTar = estargz === undefined && compression !== 'estargz';
  return recompressedLayer(layer, {
    ...to,
    mediaType: typeFor(layer.mediaType, encodingOf(encoding.compression)),
    annotations: {
      [UNCOMPRESSED]: isSameTar ? (diffIDOf(order) ?? diffID) : diffID,
      ...(estargz === undefined ? {} : estargzAnnotations(estargz)),
    },
  });
}

/** As BuildKit writes them (util/compression/estargz.go). */
function estargzAnnotations({ tocDigest, uncompressedSize }: Omit<Estargz, 'diffID'>): Annotations {
  return { [ESTARGZ_TOC_DIGEST]: tocDigest, [ESTARGZ_UNCOMPRESSED_SIZE]: `${uncompressedSize}` };
}

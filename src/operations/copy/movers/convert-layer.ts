import { copiesOf, withFallbacks } from '../../../backend/fallbacks.js';
import type { ConversionSource } from '../../../backend/backend.js';
import { encodingOf } from '../../../codec/compression.js';
import { encoderName } from '../../../codec/encoder.js';
import type { Estargz } from '../../../codec/estargz/encode-estargz.js';
import type { Conversion } from '../../../layout/blobs/conversions.js';
import type { Content } from '../../../oci/content.js';
import {
  type Annotations,
  type Descriptor,
  ESTARGZ_TOC_DIGEST,
  ESTARGZ_UNCOMPRESSED_SIZE,
  recompressedLayer,
  UNCOMPRESSED,
} from '../../../oci/descriptor.js';
import { type Digest, parseDigest } from '../../../oci/digest.js';
import { typeFor } from '../../../oci/media-types.js';
import type { Move, Mover } from './mover.js';

/** Recompresses a layer. Where it was converted before, also by an export that was cut short, the result of that is used. */
export const convertLayer: Mover = async (move, signal) => {
  const { plan, cache, target } = move;
  const { blob } = plan;
  const encoder = encoderName(plan.encoding);
  const known = await target.conversions?.find(conversionSource(move, signal), encoder, signal);
  if (known !== undefined) return { action: 'present', to: convertedLayer(move, known) };
  const written = await withFallbacks(copiesOf(cache, blob), (copy) => recompressTo(move, copy, signal));
  const conversion = { from: blob.digest, encoder, ...written };
  await target.conversions?.add(conversion);
  return { action: 'converted', to: convertedLayer(move, conversion) };
};

/** What tells whether a blob was made from this layer. The diffID of eStargz is not that of its tar. */
function conversionSource(move: Move, signal: AbortSignal): ConversionSource {
  const { plan, cache, maxLayerSize: maxSize, windowMemory } = move;
  const diffID = diffIDOf(move);
  return {
    blob: plan.blob.digest,
    limits: { maxSize, windowMemory },
    tar: plan.compression === 'estargz' || diffID?.startsWith('sha256:') !== true ? undefined : diffID,
    async readTar() {
      const { decompress } = await import('../../../codec/recompress.js');
      const options = decompressOptions(move);
      const read = (copy: Content) => decompress(copy, options, signal);
      return (await withFallbacks(copiesOf(cache, plan.blob), read)).tar;
    },
  };
}

async function recompressTo(
  move: Move,
  copy: Content,
  signal: AbortSignal,
): Promise<Pick<Conversion, 'to' | 'diffID' | 'estargz'>> {
  const { plan, target, threads, meter } = move;
  const { recompress } = await import('../../../codec/recompress.js');
  const recompression = recompress(meter(copy).content, {
    ...decompressOptions(move),
    encoding: plan.encoding,
    threads,
  });
  const to = await target.write(recompression.content, undefined, signal);
  const { diffID, estargz } = recompression.result();
  return { to, diffID, estargz };
}

/** What the descriptor of a layer says, to be checked, and what reading the layer may take. */
function decompressOptions(move: Move) {
  const { plan, cache, maxLayerSize: maxSize, windowMemory } = move;
  const tocDigest = plan.blob.annotations?.[ESTARGZ_TOC_DIGEST];
  return { blob: plan.blob, diffID: diffIDOf(move), tocDigest, maxSize, windowMemory, where: cache.name };
}

function diffIDOf({ plan, cache }: Move): Digest | undefined {
  const claimed = plan.blob.annotations?.[UNCOMPRESSED];
  return claimed === undefined ? undefined : parseDigest(claimed, `${cache.name}: ${UNCOMPRESSED}`);
}

/** The descriptor of a converted layer. The same tar keeps the diffID that it had, which may be a sha512. */
function convertedLayer(move: Move, { to, diffID, estargz }: Conversion): Descriptor {
  const { blob, compression, encoding } = move.plan;
  const isSameTar = estargz === undefined && compression !== 'estargz';
  return recompressedLayer(blob, {
    ...to,
    mediaType: typeFor(blob.mediaType, encodingOf(encoding.compression)),
    annotations: {
      [UNCOMPRESSED]: isSameTar ? (diffIDOf(move) ?? diffID) : diffID,
      ...(estargz === undefined ? {} : estargzAnnotations(estargz)),
    },
  });
}

/** As BuildKit writes them (util/compression/estargz.go). */
function estargzAnnotations({ tocDigest, uncompressedSize }: Omit<Estargz, 'diffID'>): Annotations {
  return { [ESTARGZ_TOC_DIGEST]: tocDigest, [ESTARGZ_UNCOMPRESSED_SIZE]: `${uncompressedSize}` };
}

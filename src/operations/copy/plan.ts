import { availableParallelism } from 'node:os';
import type { Cache } from '../../backend/backend.js';
import { placesOf, withPlaces } from '../../backend/fallbacks.js';
import type { Compression, Encoding } from '../../codec/compression.js';
import { CacheError } from '../../errors.js';
import type { Content } from '../../oci/content.js';
import { type Descriptor, ESTARGZ_TOC_DIGEST, UNCOMPRESSED } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { isNonDistributable, type LayerEncoding, layerEncoding, OCI_LAYER, typeFor } from '../../oci/media-types.js';
import { parallel } from '../../bytes/parallel.js';

/** The compression that was asked for, and whether layers that are compressed otherwise take it too. */
export interface Conversion {
  readonly encoding: Encoding;
  readonly force: boolean;
}

/** What is to become of a blob. */
export interface Planned {
  readonly blob: Descriptor;
  /** What it is now: by its bytes where those were looked at, and else by what is said of it. */
  readonly compression: Compression;
  /** That of its bytes, where what is said of them is no layer's or another one's. */
  readonly mediaType: string;
  /** `leave`: a foreign layer whose bytes are nowhere near. */
  readonly action: 'copy' | 'convert' | 'leave';
}

/**
 * Decides what is to become of each blob that a cache lists. Where nothing is to be converted, only layers are looked at
 * whose media type makes builds fail when it is wrong.
 *
 * Foreign layers stay what they are, since their bytes are meant to be had elsewhere, under their digest; BuildKit reads
 * them like any others, and so they travel where they are.
 *
 * @throws CacheError CORRUPT for a layer that is to be converted and is not there to be looked at
 */
export async function planBlobs(
  cache: Cache,
  conversion: Conversion | undefined,
  signal: AbortSignal | undefined,
): Promise<Planned[]> {
  const { descriptors, layers } = cache.graph;
  const named = new Set(layers.map(({ blob }) => blob));
  const planned: Planned[] = [];
  const concurrency = Math.max(availableParallelism(), cache.concurrency ?? 0);
  await parallel([...[...descriptors.values()].entries()], concurrency, signal, async ([index, blob], inner) => {
    const { mediaType } = blob;
    const claimed = claimedCompression(blob);
    // What else a manifest lists may be anything.
    const isLayer = named.has(blob.digest) || layerEncoding(mediaType) !== undefined;
    if (isNonDistributable(mediaType)) {
      const action = (await isThere(cache, blob, inner)) ? 'copy' : 'leave';
      planned[index] = { blob, compression: claimed, mediaType, action };
    } else if (!isLayer || (conversion === undefined && isHarmless(mediaType))) {
      planned[index] = { blob, compression: claimed, mediaType, action: 'copy' };
    } else {
      planned[index] = await planLayer(cache, blob, conversion, inner);
    }
  });
  return planned;
}

async function planLayer(
  cache: Cache,
  blob: Descriptor,
  conversion: Conversion | undefined,
  signal: AbortSignal,
): Promise<Planned> {
  const claimed = claimedCompression(blob);
  try {
    const compression = await realCompression(cache, blob, claimed, signal);
    const isKnown = layerEncoding(blob.mediaType) !== undefined || compression !== 'uncompressed';
    // What is unknown and not compressed may be anything, such as an encrypted layer.
    const mediaType =
      isKnown || (await isTar(cache, blob, signal)) ? typeFor(blob.mediaType, encodingOf(compression)) : blob.mediaType;
    const action = conversion !== undefined && needsConversion(compression, conversion) ? 'convert' : 'copy';
    return { blob, compression, mediaType, action };
  } catch (error) {
    // A layer that is missing here may be at the target.
    if (conversion !== undefined || !(error instanceof CacheError) || error.code !== 'CORRUPT') throw error;
    return { blob, compression: claimed, mediaType: blob.mediaType, action: 'copy' };
  }
}

/** Whether BuildKit looks at the bytes below a media type: of OCI's plain tar it does not (containerd, core/diff/stream.go). */
function isHarmless(mediaType: string): boolean {
  return layerEncoding(mediaType) !== undefined && mediaType !== OCI_LAYER;
}

/** Whether the bytes of a blob can be read at all. */
async function isThere(cache: Cache, blob: Descriptor, signal: AbortSignal): Promise<boolean> {
  try {
    await withPlaces(placesOf(cache, blob), (content) => beginning(content, 1, signal));
    return true;
  } catch (error) {
    if (error instanceof CacheError && error.code === 'CORRUPT') return false;
    throw error;
  }
}

async function isTar(cache: Cache, blob: Descriptor, signal: AbortSignal): Promise<boolean> {
  const { startsTar, TAR_BLOCK } = await import('../../tar/start.js');
  return startsTar(await withPlaces(placesOf(cache, blob), (content) => beginning(content, TAR_BLOCK, signal)));
}

async function beginning(content: Content, length: number, signal: AbortSignal): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of content.open({ start: 0, end: length }, signal)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** What a media type calls it. */
export function encodingOf(compression: Compression): LayerEncoding {
  return compression === 'estargz' ? 'gzip' : compression;
}

/** Descriptors for the layers whose media type says something else than their bytes. */
export function corrections(planned: readonly Planned[]): Map<Digest, Descriptor> {
  const wrong = planned.filter(({ blob, mediaType }) => blob.mediaType !== mediaType);
  return new Map(wrong.map(({ blob, mediaType }) => [blob.digest, { ...blob, mediaType }]));
}

/** The diffIDs of the layers that can only become one with those that have the same. */
export function tarsOf(planned: readonly Planned[]): ReadonlyMap<Digest, string> {
  return new Map(
    planned.flatMap(({ blob, compression }) => {
      const diffID = blob.annotations?.[UNCOMPRESSED];
      // That of eStargz is not that of the tar which was packed.
      return diffID === undefined || compression === 'estargz' ? [] : [[blob.digest, diffID] as const];
    }),
  );
}

/** What a descriptor says of its blob; good enough where nothing depends on it. */
function claimedCompression({ mediaType, annotations = {} }: Descriptor): Compression {
  if (Object.hasOwn(annotations, ESTARGZ_TOC_DIGEST)) return 'estargz';
  return layerEncoding(mediaType) ?? 'uncompressed';
}

/** What a blob is by its bytes. Where they are not what is said of them, those in another place may be whole. */
async function realCompression(
  cache: Cache,
  blob: Descriptor,
  claimed: Compression,
  signal: AbortSignal,
): Promise<Compression> {
  const { sniff } = await import('../../codec/sniff.js');
  const places = placesOf(cache, blob);
  const first = await withPlaces(places, (content) => sniff(content, blob.size, signal));
  if (first.compression === claimed) return claimed;
  for (const place of places.slice(1)) {
    const other = await withPlaces([place, ...places], (content) => sniff(content, blob.size, signal));
    if (other.compression === claimed) return claimed;
  }
  return first.compression;
}

/**
 * As BuildKit decides (util/compression, NeedsConversion), but for a level that is asked for: since nothing in a blob
 * tells its level, such layers are packed anew as well when that is forced.
 */
function needsConversion(compression: Compression, { encoding, force }: Conversion): boolean {
  if (compression === encoding.compression) {
    return force && encoding.level !== undefined && compression !== 'uncompressed';
  }
  return force || compression === 'uncompressed';
}

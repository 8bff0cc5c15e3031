import { availableParallelism } from 'node:os';
import type { Cache } from './backend/backend.js';
import { placesOf, withPlaces } from './backend/places.js';
import type { Compression, Encoding } from './codec/compression.js';
import { type Descriptor, ESTARGZ_TOC_DIGEST, UNCOMPRESSED } from './oci/descriptor.js';
import type { Digest } from './oci/digest.js';
import { isNonDistributable, layerEncoding, layerMediaType } from './oci/media-types.js';
import { parallel } from './parallel.js';

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
  /** Foreign layers need not be anywhere near, and must stay what they are. */
  readonly action: 'copy' | 'convert' | 'leave';
}

/**
 * Decides what is to become of each blob that a cache lists. Where nothing is to be converted, none of them is read.
 *
 * @throws CacheError CORRUPT for a layer that is not there to be looked at
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
    const claimed = claimedCompression(blob);
    // What else a manifest lists may be anything.
    const isLayer = named.has(blob.digest) || layerEncoding(blob.mediaType) !== undefined;
    if (isNonDistributable(blob.mediaType)) planned[index] = { blob, compression: claimed, action: 'leave' };
    else if (conversion === undefined || !isLayer) planned[index] = { blob, compression: claimed, action: 'copy' };
    else {
      const compression = await realCompression(cache, blob, claimed, inner);
      planned[index] = { blob, compression, action: needsConversion(compression, conversion) ? 'convert' : 'copy' };
    }
  });
  return planned;
}

/** Descriptors for the layers whose media type says something else than their bytes. */
export function corrections(planned: readonly Planned[]): Map<Digest, Descriptor> {
  return new Map(
    planned.flatMap(({ blob, compression }) => {
      const encoding = compression === 'estargz' ? 'gzip' : compression;
      if ((layerEncoding(blob.mediaType) ?? encoding) === encoding) return [];
      return [
        [blob.digest, { ...blob, mediaType: layerMediaType(blob.mediaType, { docker: false, encoding }) }] as const,
      ];
    }),
  );
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
  if (ESTARGZ_TOC_DIGEST in annotations) return 'estargz';
  return layerEncoding(mediaType) ?? 'uncompressed';
}

/** What a blob is by its bytes. Where they are not what is said of them, those in another place may be whole. */
async function realCompression(
  cache: Cache,
  blob: Descriptor,
  claimed: Compression,
  signal: AbortSignal,
): Promise<Compression> {
  const { sniff } = await import('./codec/sniff.js');
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

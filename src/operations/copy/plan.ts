import { availableParallelism } from 'node:os';
import type { Cache, CacheTarget } from '../../backend/backend.js';
import { copiesOf, withFallbacks } from '../../backend/fallbacks.js';
import { type Compression, type Encoding, encodingOf } from '../../codec/compression.js';
import { CacheError } from '../../errors.js';
import type { Graph } from '../../graph/graph.js';
import { type Descriptor, ESTARGZ_TOC_DIGEST, UNCOMPRESSED } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { isNonDistributable, layerEncoding, OCI_LAYER, typeFor } from '../../oci/media-types.js';
import { collect } from '../../bytes/collect.js';
import { parallel } from '../../bytes/parallel.js';
import { TAR_BLOCK } from '../../tar/block.js';
import { startsTar } from '../../tar/start.js';
import type { CompressionConfig, Export } from './export.js';

/** The plan for a blob: what it is now, and what it becomes. */
export interface BlobPlan {
  readonly blob: Descriptor;
  /** What the blob is now: by its bytes where those were looked at, and otherwise by its descriptor. */
  readonly compression: Compression;
  /** That of its bytes, where the descriptor has none of a layer or another one's. */
  readonly mediaType: string;
  /** `leave`: a foreign layer whose bytes no import has. */
  readonly action: 'copy' | 'convert' | 'leave';
  /** What the blob is at the target. */
  readonly encoding: Encoding;
  /** Whether it stays in another compression than the one asked for, since that was not forced. */
  readonly isKept: boolean;
}

/**
 * Plans each blob that a graph lists. Without a conversion, only those layers are looked at whose media type makes builds
 * fail if it is wrong.
 *
 * Foreign layers stay what they are, since their bytes are meant to be had from their URLs, under their digest; BuildKit
 * reads them like any others, and so they are copied where an import has them.
 *
 * @throws CacheError CORRUPT for a layer to convert whose bytes are missing
 */
export async function planBlobs(
  { descriptors, layers }: Graph,
  { cache, target, request: { compression: config }, options: { signal } }: Export,
): Promise<readonly BlobPlan[]> {
  const named = new Set(layers.map(({ blob }) => blob));
  const plans: BlobPlan[] = [];
  const concurrency = Math.max(availableParallelism(), cache.concurrency ?? 0);
  await parallel([...[...descriptors.values()].entries()], concurrency, signal, async ([index, blob], inner) => {
    // What else a manifest lists may be anything.
    const isLayer = named.has(blob.digest) || layerEncoding(blob.mediaType) !== undefined;
    if (target.leaves?.(blob) === true) plans[index] = planCopy(blob, undefined);
    else if (isNonDistributable(blob.mediaType)) plans[index] = await planForeign(cache, blob, inner);
    else if (!isLayer || (config === undefined && isHarmless(blob.mediaType))) plans[index] = planCopy(blob, config);
    else plans[index] = await planLayer(cache, blob, config, inner);
  });
  return withPresent(plans, target, signal);
}

/** The plan for a blob that is copied; nothing but its descriptor is known of it by default. */
function planCopy(
  blob: Descriptor,
  config: CompressionConfig | undefined,
  { compression, mediaType } = { compression: claimedCompression(blob), mediaType: blob.mediaType },
): BlobPlan {
  const isKept = config !== undefined && compression !== config.encoding.compression;
  return { blob, compression, mediaType, action: 'copy', encoding: { compression }, isKept };
}

async function planForeign(cache: Cache, blob: Descriptor, signal: AbortSignal): Promise<BlobPlan> {
  const plan = planCopy(blob, undefined);
  return (await hasBytes(cache, blob, signal)) ? plan : { ...plan, action: 'leave' };
}

async function planLayer(
  cache: Cache,
  blob: Descriptor,
  config: CompressionConfig | undefined,
  signal: AbortSignal,
): Promise<BlobPlan> {
  try {
    const compression = await realCompression(cache, blob, claimedCompression(blob), signal);
    const isKnown = layerEncoding(blob.mediaType) !== undefined || compression !== 'uncompressed';
    // What is unknown and not compressed may be anything, such as an encrypted layer.
    const mediaType =
      isKnown || (await isTar(cache, blob, signal)) ? typeFor(blob.mediaType, encodingOf(compression)) : blob.mediaType;
    const plan = planCopy(blob, config, { compression, mediaType });
    if (config === undefined || !needsConversion(compression, config)) return plan;
    return { ...plan, action: 'convert', encoding: config.encoding, isKept: false };
  } catch (error) {
    // A layer that is missing here may be at the target.
    if (config !== undefined || !(error instanceof CacheError) || error.code !== 'CORRUPT') throw error;
    return planCopy(blob, config);
  }
}

/** The same plans, where foreign layers that the target has already need not come from anywhere. */
async function withPresent(
  plans: readonly BlobPlan[],
  target: CacheTarget,
  signal: AbortSignal | undefined,
): Promise<readonly BlobPlan[]> {
  const absent = plans.filter(({ action }) => action === 'leave').map(({ blob }) => blob);
  if (absent.length === 0) return plans;
  const present = await target.present(absent, signal);
  return plans.map((plan) => (present.has(plan.blob.digest) ? { ...plan, action: 'copy' } : plan));
}

/** Whether BuildKit looks at the bytes below a media type: of OCI's plain tar it does not (containerd, core/diff/stream.go). */
function isHarmless(mediaType: string): boolean {
  return layerEncoding(mediaType) !== undefined && mediaType !== OCI_LAYER;
}

/** Whether the bytes of a blob can be read at all. */
async function hasBytes(cache: Cache, blob: Descriptor, signal: AbortSignal): Promise<boolean> {
  try {
    await withFallbacks(copiesOf(cache, blob), (content) => collect(content.open({ end: 1 }, signal)));
    return true;
  } catch (error) {
    if (error instanceof CacheError && error.code === 'CORRUPT') return false;
    throw error;
  }
}

async function isTar(cache: Cache, blob: Descriptor, signal: AbortSignal): Promise<boolean> {
  const head = { end: TAR_BLOCK };
  return startsTar(await withFallbacks(copiesOf(cache, blob), (content) => collect(content.open(head, signal))));
}

/** Descriptors for the layers whose media type says something else than their bytes. */
export function corrections(plans: readonly BlobPlan[]): Map<Digest, Descriptor> {
  const wrong = plans.filter(({ blob, mediaType }) => blob.mediaType !== mediaType);
  return new Map(wrong.map(({ blob, mediaType }) => [blob.digest, { ...blob, mediaType }]));
}

/** The diffIDs of the layers that can only become one with those that have the same. */
export function tarsOf(plans: readonly BlobPlan[]): ReadonlyMap<Digest, string> {
  return new Map(
    plans.flatMap(({ blob, compression }) => {
      const diffID = blob.annotations?.[UNCOMPRESSED];
      // That of eStargz is not that of the tar which was compressed.
      return diffID === undefined || compression === 'estargz' ? [] : [[blob.digest, diffID] as const];
    }),
  );
}

/** What a descriptor says of its blob, for where nothing depends on it. */
function claimedCompression({ mediaType, annotations = {} }: Descriptor): Compression {
  if (Object.hasOwn(annotations, ESTARGZ_TOC_DIGEST)) return 'estargz';
  return layerEncoding(mediaType) ?? 'uncompressed';
}

/** What a blob is by its bytes. Where they are not what its descriptor says, those of another copy may be whole. */
async function realCompression(
  cache: Cache,
  blob: Descriptor,
  claimed: Compression,
  signal: AbortSignal,
): Promise<Compression> {
  const { sniff } = await import('../../codec/sniff.js');
  const copies = copiesOf(cache, blob);
  const first = await withFallbacks(copies, (content) => sniff(content, blob.size, signal));
  if (first.compression === claimed) return claimed;
  for (const copy of copies.slice(1)) {
    const other = await withFallbacks([copy, ...copies], (content) => sniff(content, blob.size, signal));
    if (other.compression === claimed) return claimed;
  }
  return first.compression;
}

/**
 * As BuildKit decides (util/compression, NeedsConversion), but for a level that is asked for: since nothing in a blob
 * tells its level, such layers are recompressed as well when that is forced.
 */
function needsConversion(compression: Compression, { encoding, force }: CompressionConfig): boolean {
  if (compression === encoding.compression) {
    return force && encoding.level !== undefined && compression !== 'uncompressed';
  }
  return force || compression === 'uncompressed';
}

import {
  type CacheConfig,
  decodeCacheConfig,
  encodeCacheConfig,
  type LayerAnnotations,
} from '../buildkit/cache-config.js';
import { compareTimestamps, utcTimestamp, ZERO_TIME } from '../oci/go-time.js';
import { CacheError } from '../errors.js';
import { CREATED_AT, type Descriptor, UNCOMPRESSED } from '../oci/descriptor.js';
import { type Digest, isDigest } from '../oci/digest.js';
import { type Document, documentOf } from '../oci/document.js';
import { CACHE_CONFIG } from '../oci/media-types.js';
import { checkConfig } from './check.js';
import { joinEnds } from './ends.js';
import type { Graph } from './graph.js';
import { graphOf } from './load.js';

/**
 * Reads a cache as s3, azblob and gha have it: a cacheconfig that no manifest names, and whose layers have annotations
 * instead of descriptors (cache/remotecache/s3/s3.go, makeDescriptorProviderPair; azblob and gha have the same). A layer
 * may lack its media type, its size and its date; BuildKit refuses the whole cache where one lacks its diffID.
 *
 * @param where - the document, for messages
 * @throws CacheError CORRUPT for a config that BuildKit would refuse, and for a diffID or size that is none; it names the
 *   field
 */
export function loadBare(bytes: Uint8Array, where: string): Graph {
  const config = decodeCacheConfig(bytes, where);
  const layers = bareLayers(config, where);
  checkConfig(config, where);
  return graphOf(layers, config);
}

/**
 * The descriptors of the layers that a cacheconfig without a manifest names, with their doubles.
 *
 * @throws CacheError CORRUPT that names the field
 */
export function bareLayers({ layers }: CacheConfig, where: string): Descriptor[] {
  return layers.map(({ blob, annotations }, index) => {
    const field = `layers.${index}.annotations`;
    if (annotations === undefined) throw faultOf(where, field, 'an object', undefined);
    return descriptorOf(blob, annotations, where, field);
  });
}

function descriptorOf(digest: Digest, annotations: LayerAnnotations, where: string, field: string): Descriptor {
  const { mediaType, diffID, size, createdAt } = annotations;
  if (diffID === '') throw faultOf(where, `${field}.diffID`, 'a digest', undefined);
  // As in a manifest: BuildKit takes any number, and then no layer has that size.
  if (size < 0) throw faultOf(where, `${field}.size`, 'a size', `${size}`);
  const isDated = compareTimestamps(createdAt, ZERO_TIME) !== 0;
  return {
    mediaType,
    digest,
    size,
    annotations: { [UNCOMPRESSED]: diffID, ...(isDated ? { [CREATED_AT]: createdAt } : {}) },
  };
}

function faultOf(where: string, field: string, expected: string, found: string | undefined): CacheError {
  return new CacheError('CORRUPT', `${where}: ${field}: expected ${expected} but found ${found ?? 'nothing'}`, {
    hint: 'BuildKit refuses this cache too; export it again',
    field,
    expected,
    found,
  });
}

/**
 * Writes a graph as `loadBare` reads it, in the bytes that Go writes (cache/remotecache/s3/s3.go, Finalize). Of a layer
 * the media type, the diffID, the size and the date in UTC are kept, and a date that is none is left out. Lost are other
 * annotations and fields of a descriptor, and blobs that only a manifest lists. A cache with several ends gets the record
 * that joins them.
 *
 * @throws CacheError FAILED for a graph with layers that `undescribedLayers` names
 */
export function saveBare(graph: Graph): Document {
  const layers = graph.layers.map(({ blob, parent }) => {
    const annotations = annotationsOf(graph.descriptors.get(blob));
    if (annotations !== undefined) return { blob, parent, annotations };
    throw new CacheError(
      'FAILED',
      `the diffID of layer ${blob} is not known: a cache without a manifest has to say it`,
      {
        side: 'export',
      },
    );
  });
  return documentOf(CACHE_CONFIG, encodeCacheConfig({ layers, records: joinEnds(graph.records) }));
}

/**
 * The blobs of the layers that keep a graph from being written without a manifest: those whose diffID is not known, or
 * that have no descriptor at all. The bytes of a layer prove its diffID (`correctedGraph`). Layers that cannot be read go
 * with their results (`evict`, and `dropUnusedLayers` where there are none): BuildKit could not use these either.
 */
export function undescribedLayers({ layers, descriptors }: Graph): Digest[] {
  const blobs = new Set(layers.map(({ blob }) => blob));
  return [...blobs].filter((blob) => annotationsOf(descriptors.get(blob)) === undefined);
}

function annotationsOf(layer: Descriptor | undefined): LayerAnnotations | undefined {
  if (layer === undefined) return undefined;
  const { mediaType, size, annotations } = layer;
  const { [UNCOMPRESSED]: diffID, [CREATED_AT]: createdAt = ZERO_TIME } = annotations ?? {};
  return isDigest(diffID) ? { mediaType, diffID, size, createdAt: utcTimestamp(createdAt) ?? ZERO_TIME } : undefined;
}

import { encodeCacheConfig, type LayerAnnotations } from '../buildkit/cache-config.js';
import { utcTimestamp, ZERO_TIME } from '../buildkit/time.js';
import { CacheError } from '../errors.js';
import { CREATED_AT, type Descriptor, UNCOMPRESSED } from '../oci/descriptor.js';
import { type Digest, isDigest } from '../oci/digest.js';
import { type Document, documentOf } from '../oci/document.js';
import { CACHE_CONFIG } from '../oci/media-types.js';
import { joinEnds } from './ends.js';
import type { Graph } from './graph.js';

/**
 * Writes a graph as s3, azblob and gha have it: a cacheconfig alone, whose layers say themselves what a manifest says
 * elsewhere (cache/remotecache/s3/s3.go, Finalize). What else a descriptor says is lost, and so is a blob that no layer
 * names. A cache with several ends gets the record that joins them.
 *
 * @throws CacheError FAILED for a graph with layers that `undescribedLayers` names
 */
export function saveBare(graph: Graph): Document {
  const layers = graph.layers.map(({ blob, parent }) => {
    const annotations = annotationsOf(graph.descriptors.get(blob));
    if (annotations !== undefined) return { blob, parent, annotations };
    throw new CacheError('FAILED', `the diffID of layer ${blob} is not known`);
  });
  return documentOf(CACHE_CONFIG, encodeCacheConfig({ layers, records: joinEnds(graph.records) }));
}

/**
 * The blobs of the layers that a cacheconfig alone cannot have, since their diffID or anything at all is unknown of them:
 * BuildKit refuses a whole cache for one of them. A layer that can be read gets its diffID from there, and `evict` drops
 * the results of the others. The size stands in every descriptor, and the date may be missing.
 */
export function undescribedLayers({ layers, descriptors }: Graph): Digest[] {
  const blobs = new Set(layers.map(({ blob }) => blob));
  return [...blobs].filter((blob) => annotationsOf(descriptors.get(blob)) === undefined);
}

/** What a cacheconfig says of a layer; undefined where the diffID is not known. */
function annotationsOf(layer: Descriptor | undefined): LayerAnnotations | undefined {
  const { [UNCOMPRESSED]: diffID, [CREATED_AT]: createdAt } = layer?.annotations ?? {};
  if (layer === undefined || !isDigest(diffID)) return undefined;
  const { mediaType, size } = layer;
  // BuildKit refuses a date that is none, and a layer needs none.
  return { mediaType, diffID, size, createdAt: (createdAt && utcTimestamp(createdAt)) ?? ZERO_TIME };
}

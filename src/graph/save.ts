import { encodeCacheConfig } from '../buildkit/cache-config.js';
import { IMPORT_LIMIT } from '../buildkit/import-limit.js';
import { compareText } from '../oci/json.js';
import { type Document, documentOf, type OrderedDocuments } from '../oci/document.js';
import { encodeManifest, type ManifestFields } from '../oci/manifest.js';
import {
  CACHE_CONFIG,
  DOCKER_MANIFEST_LIST,
  isDocker,
  isNonDistributable,
  layerMediaType,
  OCI_INDEX,
  OCI_MANIFEST,
} from '../oci/media-types.js';
import { saveBare } from './bare.js';
import { joinEnds } from './ends.js';
import type { Graph } from './graph.js';

/** The shape of a cache with a manifest: the kind of manifest, and OCI's or Docker's media types. */
export type Shape = 'image-manifest' | 'index' | 'docker-list';

const MEDIA_TYPES: Readonly<Record<Shape, string>> = {
  'image-manifest': OCI_MANIFEST,
  index: OCI_INDEX,
  'docker-list': DOCKER_MANIFEST_LIST,
};

/** The shape for a manifest's media type. */
export function shapeOf(mediaType: string): Shape {
  if (isDocker(mediaType)) return 'docker-list';
  return mediaType === OCI_INDEX ? 'index' : 'image-manifest';
}

/** The documents of a cache, without its layers. */
export interface SavedCache {
  readonly documents: OrderedDocuments;
  /** That of the manifest; undefined for a cache without one. */
  readonly shape: Shape | undefined;
  /** Other fields of the manifest. */
  readonly fields?: ManifestFields | undefined;
}

/** A cache with a manifest, as folders and registries have it. */
interface ManifestCache extends SavedCache {
  readonly documents: readonly [config: Document, manifest: Document];
  readonly shape: Shape;
}

/**
 * Writes a graph down as BuildKit does (cache/remotecache/export.go): one manifest entry for each layer, in order. What
 * else the manifest listed comes after the layers. A cache with several ends gets the record that joins them.
 *
 * @param fields - other fields of the manifest
 */
export function saveGraph(graph: Graph, shape: Shape, fields: ManifestFields = {}): ManifestCache {
  const docker = shape === 'docker-list';
  const named = new Set(graph.layers.map(({ blob }) => blob));
  const others = [...graph.descriptors.keys()].filter((blob) => !named.has(blob)).toSorted(compareText);
  const listed = [...graph.layers.map(({ blob }) => blob), ...others].flatMap((blob) => {
    const descriptor = graph.descriptors.get(blob);
    if (descriptor === undefined) return [];
    const { mediaType } = descriptor;
    const saved = isNonDistributable(mediaType) ? mediaType : layerMediaType(mediaType, { docker });
    return [{ ...descriptor, mediaType: saved }];
  });
  const config = documentOf(
    CACHE_CONFIG,
    encodeCacheConfig({ layers: graph.layers, records: joinEnds(graph.records) }),
  );
  const mediaType = MEDIA_TYPES[shape];
  const manifest =
    shape === 'image-manifest'
      ? encodeManifest({ kind: 'manifest', mediaType, config: config.descriptor, layers: listed, fields })
      : encodeManifest({ kind: 'index', mediaType, manifests: [...listed, config.descriptor], fields });
  return { documents: [config, documentOf(mediaType, manifest)], shape, fields };
}

/** Saves a graph in the form of another cache: with a manifest of its shape and with its fields, or without a manifest. */
export function saveAs({ shape, fields }: Pick<SavedCache, 'shape' | 'fields'>, graph: Graph): SavedCache {
  return shape === undefined ? { documents: [saveBare(graph)], shape } : saveGraph(graph, shape, fields);
}

/** The documents that BuildKit would not import for their size: only a cache with a manifest has that limit. */
export function oversized<D extends Pick<Document, 'descriptor'>>({
  documents,
  shape,
}: Pick<SavedCache, 'shape'> & { readonly documents: readonly D[] }): readonly D[] {
  return shape === undefined ? [] : documents.filter(({ descriptor }) => descriptor.size > IMPORT_LIMIT);
}

import { encodeCacheConfig } from '../buildkit/cache-config.js';
import { compareText } from '../oci/json.js';
import { type Document, documentOf, encodeManifest, type ManifestFields } from '../oci/manifest.js';
import {
  CACHE_CONFIG,
  DOCKER_MANIFEST_LIST,
  isDocker,
  isNonDistributable,
  layerMediaType,
  OCI_INDEX,
  OCI_MANIFEST,
} from '../oci/media-types.js';
import { joinEnds } from './ends.js';
import type { Graph } from './graph.js';

/** The form of a cache that has a manifest: which kind of manifest, and whose media types. */
export type Shape = 'image-manifest' | 'index' | 'docker-list';

const MEDIA_TYPES: Readonly<Record<Shape, string>> = {
  'image-manifest': OCI_MANIFEST,
  index: OCI_INDEX,
  'docker-list': DOCKER_MANIFEST_LIST,
};

/** The shape that a manifest's media type stands for. */
export function shapeOf(mediaType: string): Shape {
  if (isDocker(mediaType)) return 'docker-list';
  return mediaType === OCI_INDEX ? 'index' : 'image-manifest';
}

/** A cache as it stands in a folder or registry, its layers aside. */
export interface SavedCache {
  readonly shape: Shape;
  readonly config: Document;
  readonly manifest: Document;
  /** What else stands in the manifest. */
  readonly fields?: ManifestFields | undefined;
}

/**
 * Writes a graph down as BuildKit does (cache/remotecache/export.go): one manifest entry for each layer, in order. What
 * was listed beside the layers comes behind them. A cache with several ends gets the record that joins them.
 *
 * @param fields - what else is to stand in the manifest
 */
export function saveGraph(graph: Graph, shape: Shape, fields: ManifestFields = {}): SavedCache {
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
  return { shape, config, manifest: documentOf(mediaType, manifest), fields };
}

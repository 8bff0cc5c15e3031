import { type CacheConfig, decodeCacheConfig } from '../buildkit/cache-config.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { ImageIndex, ImageManifest, Manifest } from '../oci/manifest.js';
import { CACHE_CONFIG, isNonDistributable, layerMediaType } from '../oci/media-types.js';
import { checkConfig } from './check.js';
import { withoutJoin } from './ends.js';
import type { Graph } from './graph.js';

/** The cacheconfig that a manifest of either shape points at; undefined when it is not a build cache. */
export function configOf(manifest: Manifest): Descriptor | undefined {
  if (manifest.kind === 'manifest') return manifest.config.mediaType === CACHE_CONFIG ? manifest.config : undefined;
  return manifest.manifests.findLast(({ mediaType }) => mediaType === CACHE_CONFIG);
}

/** The layers that a manifest of either shape lists, doubles included. */
export function layersIn(manifest: ImageManifest | ImageIndex): readonly Descriptor[] {
  if (manifest.kind === 'manifest') return manifest.layers;
  return manifest.manifests.filter(({ mediaType }) => mediaType !== CACHE_CONFIG);
}

/**
 * The graph behind a manifest and its config.
 *
 * @param where - the config's blob, for messages
 * @throws CacheError CORRUPT for a config that BuildKit would refuse
 */
export function loadGraph(manifest: Manifest, configBytes: Uint8Array, where: string): Graph {
  const config: CacheConfig = decodeCacheConfig(configBytes, where);
  checkConfig(config, where);
  return graphOf(manifest, config);
}

/** The graph of a config that has no faults, without the record that joins its ends. */
export function graphOf(manifest: Manifest, config: CacheConfig): Graph {
  return {
    layers: config.layers.map(({ blob, parent }) => ({ blob, parent })),
    records: withoutJoin(config.records),
    descriptors: new Map(layersIn(manifest).map((layer) => [layer.digest, ociDescriptor(layer)])),
  };
}

/** Inside, all layers have OCI's media types, so that caches of both kinds are one when they are merged. */
export function ociDescriptor(layer: Descriptor): Descriptor {
  const foreign = isNonDistributable(layer.mediaType);
  return foreign ? layer : { ...layer, mediaType: layerMediaType(layer.mediaType, { docker: false }) };
}

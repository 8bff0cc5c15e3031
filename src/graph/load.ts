import { type CacheConfig, decodeCacheConfig } from '../buildkit/cache-config.js';
import type { Descriptor } from '../oci/descriptor.js';
import { isNonDistributable, layerMediaType } from '../oci/media-types.js';
import { checkConfig } from './check.js';
import { withoutJoin } from './ends.js';
import type { Graph } from './graph.js';

/**
 * The graph of a cache that has a manifest.
 *
 * @param layers - those that the manifest lists; of a layer that stands there twice, the last descriptor counts
 * @param where - the config's blob, for messages
 * @throws CacheError CORRUPT for a config that BuildKit would refuse
 */
export function loadGraph(layers: readonly Descriptor[], configBytes: Uint8Array, where: string): Graph {
  const config: CacheConfig = decodeCacheConfig(configBytes, where);
  checkConfig(config, where);
  return graphOf(layers, config);
}

/** The graph of a config that has no faults, without the record that joins its ends. */
export function graphOf(layers: readonly Descriptor[], config: CacheConfig): Graph {
  return {
    layers: config.layers.map(({ blob, parent }) => ({ blob, parent })),
    records: withoutJoin(config.records),
    descriptors: new Map(layers.map((layer) => [layer.digest, ociDescriptor(layer)])),
  };
}

/** Inside, all layers have OCI's media types, so that caches of both kinds are one when they are merged. */
export function ociDescriptor(layer: Descriptor): Descriptor {
  const foreign = isNonDistributable(layer.mediaType);
  return foreign ? layer : { ...layer, mediaType: layerMediaType(layer.mediaType, { docker: false }) };
}

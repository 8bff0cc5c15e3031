import { type CacheConfig, decodeCacheConfig } from '../buildkit/cache-config.js';
import type { Descriptor } from '../oci/descriptor.js';
import { isNonDistributable, layerMediaType } from '../oci/media-types.js';
import { checkConfig } from './check.js';
import { withoutJoin } from './ends.js';
import type { Graph } from './graph.js';

/**
 * The graph of a cache that has a manifest.
 *
 * @param layers - the layers of the manifest; the last of several descriptors of a layer counts
 * @param where - the config, for messages
 * @throws CacheError CORRUPT for a config that BuildKit would refuse
 */
export function loadGraph(layers: readonly Descriptor[], configBytes: Uint8Array, where: string): Graph {
  const config: CacheConfig = decodeCacheConfig(configBytes, where);
  checkConfig(config, where);
  return graphOf(layers, config);
}

/** The graph of a config without faults. The record that joins the ends is left out. */
export function graphOf(layers: readonly Descriptor[], config: CacheConfig): Graph {
  return {
    layers: config.layers.map(({ blob, parent }) => ({ blob, parent })),
    records: withoutJoin(config.records),
    descriptors: new Map(layers.map((layer) => [layer.digest, ociDescriptor(layer)])),
  };
}

/** A layer's descriptor with OCI's media type: graphs have OCI's types only, so that OCI and Docker caches can be merged. */
export function ociDescriptor(layer: Descriptor): Descriptor {
  const foreign = isNonDistributable(layer.mediaType);
  return foreign ? layer : { ...layer, mediaType: layerMediaType(layer.mediaType, { docker: false }) };
}

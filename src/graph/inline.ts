import type { CacheRecord, Chain, Result } from '../buildkit/cache-config.js';
import { compareTimestamps, type Timestamp, ZERO_TIME } from '../oci/go-time.js';
import { CREATED_AT, DESCRIPTION, type Descriptor, UNCOMPRESSED } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { ImageConfig } from '../oci/image.js';
import { compareText } from '../oci/json.js';
import { canonical } from './canonical.js';
import { checkConfig } from './check.js';
import { joinEnds, withoutJoin } from './ends.js';
import { type Graph, hasResults, withParents } from './graph.js';
import { dropUnusedLayers, dropUnusedRecords, keepResults } from './keep.js';
import { ociDescriptor } from './load.js';

/**
 * An image's layers, the lowest first, with the annotations of a cache's layers: diffIDs from the image's config, dates and
 * descriptions from its history (cache/remotecache/import.go, importInlineCache).
 *
 * @param layers - the layers of the manifest, as many as the config has diffIDs
 */
export function describeLayers(layers: readonly Descriptor[], { diffIDs, history }: ImageConfig): Descriptor[] {
  return layers.map((layer, index) => {
    const { created, createdBy } = history[index] ?? {};
    const diffID = diffIDs[index];
    const annotations = {
      ...layer.annotations,
      ...(created === undefined ? {} : { [CREATED_AT]: created }),
      ...(createdBy === undefined ? {} : { [DESCRIPTION]: createdBy }),
      ...(diffID === undefined ? {} : { [UNCOMPRESSED]: diffID }),
    };
    return { ...ociDescriptor(layer), annotations };
  });
}

/**
 * The graph of an inline cache. Its layers are the layers of the image, each with the one before it as its parent.
 *
 * @param layers - from `describeLayers`, the lowest first
 * @param where - the image's config, for messages
 * @throws CacheError CORRUPT for records that BuildKit would refuse
 */
export function fromInline(layers: readonly Descriptor[], records: readonly CacheRecord[], where: string): Graph {
  const graph = inlineGraph(layers, records);
  checkConfig(graph, where);
  return canonical(dropUnusedLayers({ ...graph, records: withoutJoin(records) }));
}

/** The unchecked graph of an inline cache, with all layers of the image. */
export function inlineGraph(layers: readonly Descriptor[], records: readonly CacheRecord[]): Graph {
  return {
    layers: layers.map(({ digest }, index) => ({ blob: digest, parent: index - 1 })),
    records,
    descriptors: new Map(layers.map((layer) => [layer.digest, layer])),
  };
}

/** The part of a cache that fits an image: the results that consist of its layers, and the keys that lead to them. */
export function graphForImage(graph: Graph, layers: readonly Descriptor[]): Graph {
  const places = placesOf(graph, layers);
  const isPlaced = (layer: number) => {
    const blob = graph.layers[layer]?.blob;
    return blob === undefined || places.has(blob);
  };
  return dropUnusedRecords(
    keepResults(graph, isPlaced, (chain) => chain.length > 0 && chain.every((layer) => isPlaced(layer))),
  );
}

/**
 * The records of an inline cache as BuildKit writes them (cache/remotecache/inline/inline.go, ExportForLayers): a
 * result whose layers are the lowest layers of the image, in order, names the topmost of them; any other result is a chain
 * that lists its layers, without a time. Several ends are joined, as in any cache.
 *
 * @param layers - from `describeLayers`, the lowest first
 */
export function toInline(graph: Graph, layers: readonly Descriptor[]): readonly CacheRecord[] {
  const fitting = canonical(graphForImage(graph, layers));
  const places = placesOf(fitting, layers);
  const placed = fitting.records.map((record) => ({
    ...record,
    ...placeResults(fitting, record, places, layers.length),
  }));
  return joinEnds(placed);
}

/** How a cache fits an image: the digests of the records with results, by whether the image has their layers. */
export interface RecordFit {
  readonly fitting: readonly string[];
  readonly others: readonly { readonly record: string; readonly missingLayers: readonly Digest[] }[];
}

/** The records that keep a result in the image, and the other records with the layers that the image lacks. */
export function recordsByFit(graph: Graph, layers: readonly Descriptor[]): RecordFit {
  const places = placesOf(graph, layers);
  const fitting: string[] = [];
  const others: { record: string; missingLayers: Digest[] }[] = [];
  for (const record of graph.records.filter(hasResults)) {
    const missing = stacksOf(graph, record)
      .filter(({ stack }) => stack.length > 0)
      .map(({ stack }) => missingLayers(graph, stack, places));
    // Of several results that do not fit, the one with the fewest missing layers is reported.
    const [closest] = missing.toSorted((a, b) => a.length - b.length);
    if (closest?.length === 0) fitting.push(record.digest);
    else others.push({ record: record.digest, missingLayers: closest ?? [] });
  }
  return { fitting, others };
}

/**
 * The indexes of a graph's blobs in an image. Layers are equal when their diffIDs are equal, whatever their compression. A
 * blob without a diffID must have the digest or the diffID of a layer of the image.
 */
function placesOf({ descriptors, layers }: Graph, image: readonly Descriptor[]): Map<Digest, readonly number[]> {
  const byDigest = new Map<string, number[]>();
  for (const [place, { digest, annotations }] of image.entries()) {
    for (const name of new Set([digest, annotations?.[UNCOMPRESSED] ?? digest])) {
      const known = byDigest.get(name);
      if (known === undefined) byDigest.set(name, [place]);
      else known.push(place);
    }
  }
  const places = new Map<Digest, readonly number[]>();
  for (const { blob } of layers) {
    const diffID = descriptors.get(blob)?.annotations?.[UNCOMPRESSED] ?? blob;
    const found = byDigest.get(diffID) ?? byDigest.get(blob);
    if (found !== undefined) places.set(blob, found);
  }
  return places;
}

function missingLayers(graph: Graph, stack: readonly number[], places: ReadonlyMap<Digest, unknown>): Digest[] {
  const blobs = stack.flatMap((layer) => graph.layers[layer]?.blob ?? []);
  return blobs.filter((blob) => !places.has(blob));
}

interface Stack {
  /** The indexes of its layers, the lowest first. */
  readonly stack: readonly number[];
  readonly createdAt: Timestamp;
}

/** All results and chains of a record, newest first. */
function stacksOf({ layers }: Graph, { results, chains }: CacheRecord): Stack[] {
  return [
    ...results.map(({ layer, createdAt }) => ({ stack: [...withParents(layers, layer)].toReversed(), createdAt })),
    ...chains.map(({ layers: stack, createdAt }) => ({ stack, createdAt })),
  ].toSorted(newestFirst);
}

function newestFirst(a: { readonly createdAt: Timestamp }, b: { readonly createdAt: Timestamp }): number {
  return compareTimestamps(b.createdAt, a.createdAt);
}

function placeResults(
  graph: Graph,
  record: CacheRecord,
  placesOfBlob: ReadonlyMap<Digest, readonly number[]>,
  height: number,
): Pick<CacheRecord, 'results' | 'chains'> {
  // Keyed by their layers in the image, so that one layer in two compressions is one result: the newer one.
  const results = new Map<number, Result>();
  const chains = new Map<string, Chain>();
  for (const { stack, createdAt } of stacksOf(graph, record)) {
    const places = stack.map((layer) => {
      const blob = graph.layers[layer]?.blob;
      return (blob && placesOfBlob.get(blob)) ?? [];
    });
    if (places.length <= height && places.every((of, index) => of.includes(index))) {
      const layer = places.length - 1;
      if (!results.has(layer)) results.set(layer, { layer, createdAt });
    } else {
      // BuildKit names the upper of two equal layers of an image.
      const layers = places.map((of) => of.at(-1) ?? -1);
      chains.set(layers.join(), { layers, createdAt: ZERO_TIME });
    }
  }
  return {
    results: [...results.values()].toSorted((a, b) => newestFirst(a, b) || a.layer - b.layer),
    chains: [...chains.entries()].toSorted(([a], [b]) => compareText(a, b)).map(([, chain]) => chain),
  };
}

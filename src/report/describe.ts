import type { Cache } from '../backend/backend.js';
import { openRepository, openSource } from '../backend/open.js';
import type { RepositoryEntry, RepositoryReader } from '../backend/repository.js';
import { loadCache } from '../backend/repository-source.js';
import type { CacheRecord } from '../buildkit/cache-config.js';
import { parseImport } from '../buildkit/options.js';
import type { Compression } from '../codec/compression.js';
import { sniff } from '../codec/sniff.js';
import { CacheError } from '../errors.js';
import { blobsOf, hasResults } from '../graph/graph.js';
import { min } from '../graph/min.js';
import { type Shape } from '../graph/save.js';
import { CREATED_AT, DESCRIPTION, type Descriptor, UNCOMPRESSED } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';

/** One layer of a cache. */
export interface LayerDescription {
  readonly digest: Digest;
  /** What the bytes are, whatever the media type says; undefined for a blob that is not there. */
  readonly compression: Compression | undefined;
  readonly mediaType: string;
  /** In bytes. */
  readonly size: number;
  readonly diffID: string | undefined;
  readonly createdAt: string | undefined;
  readonly description: string | undefined;
}

/** A cache in numbers and names. */
export interface CacheDescription {
  readonly source: string;
  readonly descriptor: Descriptor;
  readonly shape: Shape | undefined;
  readonly mode: 'min' | 'max';
  /** Of its layers, each counted once; in bytes. */
  readonly size: number;
  readonly layers: readonly LayerDescription[];
  readonly results: number;
  readonly records: readonly CacheRecord[];
  /** For each record's results, the digests of their layers, the topmost first. */
  readonly layerOf: readonly (readonly Digest[])[];
}

/**
 * Reads what a cache consists of.
 *
 * @throws CacheError USAGE, NOT_FOUND, CORRUPT
 */
export async function inspectCache(text: string, signal?: AbortSignal): Promise<CacheDescription> {
  const source = openSource(parseImport(text));
  const descriptor = await source.resolve(signal);
  const cache = await source.load(signal);
  const { graph } = cache;
  const blobs = blobsOf(graph);
  const layers: LayerDescription[] = [];
  for (const blob of blobs) layers.push(await describeLayer(cache, blob, signal));
  return {
    source: source.name,
    descriptor,
    shape: cache.saved?.shape,
    mode: min(graph) === graph ? 'min' : 'max',
    size: blobs.reduce((sum, { size }) => sum + size, 0),
    layers,
    results: graph.records.filter(hasResults).length,
    records: graph.records,
    layerOf: graph.records.map(({ results, chains }) =>
      [...results.map(({ layer }) => layer), ...chains.flatMap(({ layers: named }) => named)].flatMap(
        (layer) => graph.layers[layer]?.blob ?? [],
      ),
    ),
  };
}

async function describeLayer(cache: Cache, blob: Descriptor, signal?: AbortSignal): Promise<LayerDescription> {
  const annotations = blob.annotations ?? {};
  return {
    digest: blob.digest,
    compression: await compressionOf(cache, blob, signal),
    mediaType: blob.mediaType,
    size: blob.size,
    diffID: annotations[UNCOMPRESSED],
    createdAt: annotations[CREATED_AT],
    description: annotations[DESCRIPTION],
  };
}

async function compressionOf(cache: Cache, blob: Descriptor, signal?: AbortSignal): Promise<Compression | undefined> {
  try {
    return (await sniff(cache.blob(blob), blob.size, signal)).compression;
  } catch (error) {
    if (error instanceof CacheError) return undefined;
    throw error;
  }
}

/** A row of a listing: an entry of index.json. */
export interface ListEntry {
  readonly tag: string | undefined;
  readonly digest: Digest;
  readonly mediaType: string;
  /** What it is: a cache with its numbers, something else, or why it cannot be read. */
  readonly cache?: Pick<CacheDescription, 'shape' | 'mode' | 'size' | 'results'> & {
    readonly layers: number;
    readonly records: number;
  };
  readonly problem?: string;
}

/**
 * The entries of a folder's index.json, each with what it is. One that cannot be read has its reason beside it.
 *
 * @throws CacheError NOT_FOUND, CORRUPT when index.json itself cannot be read
 */
export async function listCaches(folder: string, signal?: AbortSignal): Promise<ListEntry[]> {
  const repository = await openRepository({ type: 'local', attributes: { src: folder } });
  const entries: ListEntry[] = [];
  for (const entry of await repository.entries(signal)) entries.push(await listEntry(repository, entry, signal));
  return entries;
}

async function listEntry(
  repository: RepositoryReader,
  { tag, descriptor }: RepositoryEntry,
  signal?: AbortSignal,
): Promise<ListEntry> {
  const { digest, mediaType } = descriptor;
  const entry = { tag, digest, mediaType };
  try {
    const { graph, saved } = await loadCache(repository, descriptor, signal);
    return {
      ...entry,
      cache: {
        shape: saved?.shape,
        mode: min(graph) === graph ? 'min' : 'max',
        size: blobsOf(graph).reduce((sum, { size }) => sum + size, 0),
        results: graph.records.filter(hasResults).length,
        layers: graph.layers.length,
        records: graph.records.length,
      },
    };
  } catch (error) {
    if (error instanceof CacheError) return { ...entry, problem: error.message };
    throw error;
  }
}

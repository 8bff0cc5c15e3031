import { checkCall } from '../../calls.js';
import type { Cache, CacheSource } from '../../backend/backend.js';
import { readImport } from '../../backend/option-string.js';
import { openRepository, openSource, type ReadOptions } from '../../backend/open.js';
import { Outage } from '../../backend/outage.js';
import { isOptionString } from '../../buildkit/values.js';
import type { RepositoryEntry, RepositoryReader } from '../../backend/repository/repository.js';
import { loadCache } from '../../backend/repository/load-cache.js';
import type { Compression } from '../../codec/compression.js';
import { sniff } from '../../codec/sniff.js';
import { abortable, CacheError, isOutOfReach } from '../../errors.js';
import { blobsOf, type Graph, hasResults } from '../../graph/graph.js';
import { recordIds } from '../../graph/identity.js';
import { min } from '../../graph/min.js';
import { type Shape } from '../../graph/save.js';
import { type Registries, withRegistries } from '../../net/registry/registries.js';
import { CREATED_AT, DESCRIPTION, type Descriptor, UNCOMPRESSED } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { parallel } from '../../bytes/parallel.js';

/** One layer of a cache. */
export interface LayerDescription {
  readonly digest: Digest;
  /** What the bytes are, whatever the media type says; undefined where they cannot be read. */
  readonly compression: Compression | undefined;
  /** Why they cannot. */
  readonly problem?: string;
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
  /** Of its own manifest; unset where it has none. */
  readonly shape: Shape | undefined;
  /** For a cache inside an image: the platforms that have one. */
  readonly platforms?: readonly string[];
  readonly mode: 'min' | 'max';
  /** Of its layers, each counted once; in bytes. */
  readonly size: number;
  readonly layers: readonly LayerDescription[];
  readonly results: number;
  readonly records: readonly RecordDescription[];
}

/** One step of a build, on certain inputs. */
export interface RecordDescription {
  /** Of this record alone: the same step on other inputs has the same digest. */
  readonly id: string;
  readonly digest: string;
  /** For each input, the records that may stand for it. */
  readonly inputs: readonly (readonly { readonly selector: string; readonly id: string; readonly digest: string }[])[];
  /** Each is a layer with all its parents. */
  readonly results: readonly { readonly layer: Digest; readonly createdAt: string }[];
  /** Results with all their layers, the lowest first. */
  readonly chains: readonly { readonly layers: readonly Digest[]; readonly createdAt: string }[];
}

/**
 * Reads what a cache consists of.
 *
 * @throws CacheError USAGE, NOT_FOUND, CORRUPT
 */
export async function inspectCache(text: string, access: ReadOptions = {}): Promise<CacheDescription> {
  checkCall('inspectCache', { text, options: access });
  const { registry, layout, signal, onNote } = access;
  const options = await readImport(text, onNote);
  return abortable(signal, () =>
    withRegistries(registry, async (registries) =>
      describeCache(await openSource(options, registries, layout), signal),
    ),
  );
}

async function describeCache(source: CacheSource, signal: AbortSignal | undefined): Promise<CacheDescription> {
  const descriptor = await source.resolve(signal);
  const cache = await source.load(signal);
  const { graph } = cache;
  const blobs = blobsOf(graph);
  const layers: LayerDescription[] = [];
  await parallel([...blobs.entries()], cache.concurrency ?? 1, signal, async ([index, blob], inner) => {
    layers[index] = await describeLayer(cache, blob, inner);
  });
  return {
    source: source.name,
    descriptor,
    shape: cache.saved?.shape,
    ...(cache.platforms ? { platforms: cache.platforms } : {}),
    mode: min(graph) === graph ? 'min' : 'max',
    size: blobs.reduce((sum, { size }) => sum + size, 0),
    layers,
    results: graph.records.filter(hasResults).length,
    records: describeRecords(graph),
  };
}

/** The records with digests in the place of indexes. */
function describeRecords({ layers, records }: Graph): RecordDescription[] {
  const ids = recordIds(records);
  const named = records.flatMap((record, index) => {
    const id = ids[index];
    return id === undefined ? [] : [{ id, record }];
  });
  const blobs = (indexes: readonly number[]) => indexes.flatMap((index) => layers[index]?.blob ?? []);
  return named.map(({ id, record: { digest, inputs, results, chains } }) => ({
    id,
    digest,
    inputs: inputs.map((alternatives) =>
      alternatives.flatMap(({ selector, link }) => {
        const [to, of] = [records[link], ids[link]];
        return to === undefined || of === undefined ? [] : [{ selector, id: of, digest: to.digest }];
      }),
    ),
    results: results.flatMap(({ layer, createdAt }) => blobs([layer]).map((blob) => ({ layer: blob, createdAt }))),
    chains: chains.map(({ layers: all, createdAt }) => ({ layers: blobs(all), createdAt })),
  }));
}

async function describeLayer(cache: Cache, blob: Descriptor, signal?: AbortSignal): Promise<LayerDescription> {
  const annotations = blob.annotations ?? {};
  return {
    digest: blob.digest,
    ...(await compressionOf(cache, blob, signal)),
    mediaType: blob.mediaType,
    size: blob.size,
    diffID: annotations[UNCOMPRESSED],
    createdAt: annotations[CREATED_AT],
    description: annotations[DESCRIPTION],
  };
}

async function compressionOf(
  cache: Cache,
  blob: Descriptor,
  signal?: AbortSignal,
): Promise<Pick<LayerDescription, 'compression' | 'problem'>> {
  try {
    return { compression: (await sniff(cache.blob(blob), blob.size, signal)).compression };
  } catch (error) {
    if (error instanceof CacheError && !isOutOfReach(error)) return { compression: undefined, problem: error.message };
    throw error;
  }
}

/** A row of a listing: an entry of index.json, or a tag of a registry. */
export interface ListEntry {
  readonly tag: string | undefined;
  /** Unset where a registry does not say what its tag names. */
  readonly digest?: Digest;
  readonly mediaType?: string;
  /** What it is: a cache with its numbers, something else, or why it cannot be read. */
  readonly cache?: Pick<CacheDescription, 'shape' | 'platforms' | 'mode' | 'size' | 'results'> & {
    readonly layers: number;
    readonly records: number;
  };
  readonly problem?: string;
}

/**
 * What a folder or a repository of a registry has under its tags. An entry that cannot be read, or that a registry
 * refuses, has its reason beside it; in a registry, where caches stand among images, what is no cache is left out.
 *
 * @param text - a folder, or an import string
 * @throws CacheError NOT_FOUND, CORRUPT when index.json itself cannot be read, UNREACHABLE or DENIED when a
 *   registry cannot be asked
 */
export async function listCaches(text: string, access: ReadOptions = {}): Promise<ListEntry[]> {
  checkCall('listCaches', { text, options: access });
  const { registry, layout, signal, onNote } = access;
  const options = isOptionString(text)
    ? await readImport(text, onNote)
    : ({ type: 'local', attributes: { src: text } } as const);
  const run = async (registries: Registries) => {
    const repository = await openRepository(options, registries, layout);
    const found = await repository.entries(signal);
    const rows: (ListEntry | undefined)[] = [];
    const outage = new Outage();
    await parallel([...found.entries()], repository.concurrency ?? 1, signal, async ([index, entry], inner) => {
      if ('problem' in entry) {
        rows[index] = { tag: entry.tag, problem: entry.problem.message };
        return;
      }
      try {
        rows[index] = await listEntry(repository, entry, inner, options.type === 'local');
        outage.answered();
      } catch (error) {
        inner.throwIfAborted();
        const { digest, mediaType } = entry.descriptor;
        rows[index] = { tag: entry.tag, digest, mediaType, problem: outage.failed(error).message };
      }
    });
    outage.end();
    return rows.filter((row) => row !== undefined);
  };
  return abortable(signal, () => withRegistries(registry, run));
}

async function listEntry(
  repository: RepositoryReader,
  { tag, descriptor }: RepositoryEntry,
  signal: AbortSignal,
  withOthers: boolean,
): Promise<ListEntry | undefined> {
  const { digest, mediaType } = descriptor;
  const entry = { tag, digest, mediaType };
  try {
    const { graph, saved, platforms } = await loadCache(repository, descriptor, signal);
    return {
      ...entry,
      cache: {
        shape: saved?.shape,
        ...(platforms ? { platforms } : {}),
        mode: min(graph) === graph ? 'min' : 'max',
        size: blobsOf(graph).reduce((sum, { size }) => sum + size, 0),
        results: graph.records.filter(hasResults).length,
        layers: graph.layers.length,
        records: graph.records.length,
      },
    };
  } catch (error) {
    if (!(error instanceof CacheError) || isOutOfReach(error)) throw error;
    const isOther = error.code === 'NOT_FOUND' && !withOthers;
    return isOther ? undefined : { ...entry, problem: error.message };
  }
}

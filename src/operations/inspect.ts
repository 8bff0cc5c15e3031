import { checkCall } from '../calls.js';
import type { Cache, CacheSource } from '../backend/backend.js';
import { readImport } from '../backend/option-string.js';
import { locate, openSource } from '../backend/backends.js';
import type { Compression } from '../codec/compression.js';
import { sniff } from '../codec/sniff.js';
import { abortable, CacheError, isOutOfReach } from '../errors.js';
import { blobsOf, type Graph } from '../graph/graph.js';
import { recordIds } from '../graph/identity.js';
import { CREATED_AT, DESCRIPTION, type Descriptor, UNCOMPRESSED } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { parallel } from '../bytes/parallel.js';
import { Session, type SessionOptions } from '../session.js';
import { type CacheSummary, summarize } from './cache-summary.js';

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

/** A cache with its layers and records. */
export interface CacheDescription extends CacheSummary {
  readonly source: string;
  readonly descriptor: Descriptor;
  readonly layers: readonly LayerDescription[];
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
export async function inspectCache(text: string, access: SessionOptions = {}): Promise<CacheDescription> {
  checkCall('inspectCache', { text, options: access });
  const { signal, onNote } = access;
  const options = await readImport(text, onNote);
  return abortable(signal, async () => {
    await using session = new Session(access);
    const source = await openSource(await locate(options, 'import', session), session);
    return await describeCache(source, signal);
  });
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
  const { results, ...summary } = summarize(cache);
  return {
    source: source.name,
    descriptor,
    ...summary,
    layers,
    results,
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
    ...(await sniffedCompression(cache, blob, signal)),
    mediaType: blob.mediaType,
    size: blob.size,
    diffID: annotations[UNCOMPRESSED],
    createdAt: annotations[CREATED_AT],
    description: annotations[DESCRIPTION],
  };
}

async function sniffedCompression(
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

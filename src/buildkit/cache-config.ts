import * as v from 'valibot';
import type { Digest } from '../oci/digest.js';
import { digestSchema, goJson, parseJson, sizeSchema } from '../oci/json.js';
import { isTimestamp, normalizeTimestamp, type Timestamp, ZERO_TIME } from './time.js';

/** The graph of a build cache, `application/vnd.buildkit.cacheconfig.v0`: cache/remotecache/v1/types/spec.go. */
export interface CacheConfig {
  readonly layers: readonly ConfigLayer[];
  readonly records: readonly CacheRecord[];
}

/** A layer at one place in the graph; the same blob can stand at several. */
export interface ConfigLayer {
  readonly blob: Digest;
  /** The index of the layer below, -1 for none. */
  readonly parent: number;
  /** Only in the configs of s3, gha and azblob, which have no manifest around them. */
  readonly annotations?: LayerAnnotations;
}

export interface LayerAnnotations {
  readonly mediaType: string;
  readonly diffID: Digest | '';
  /** Of the blob, in bytes. */
  readonly size: number;
  readonly createdAt: Timestamp;
}

/** A cache key: what was done (`digest`), to which inputs, and what came of it. */
export interface CacheRecord {
  readonly digest: Digest;
  /** For each input, the records that may stand for it. */
  readonly inputs: readonly (readonly Link[])[];
  readonly results: readonly Result[];
  readonly chains: readonly Chain[];
}

export interface Link {
  readonly selector: string;
  /** The index of a record. */
  readonly link: number;
}

/** A result that is a layer and all its parents. */
export interface Result {
  readonly layer: number;
  readonly createdAt: Timestamp;
}

/** A result that names every layer in order, and has no parents. */
export interface Chain {
  readonly layers: readonly number[];
  readonly createdAt: Timestamp;
}

// Go leaves out what is zero, and reads null as zero: every field has its zero as the default.
const indexSchema = v.nullish(v.pipe(v.number(), v.safeInteger()), 0);
const textSchema = v.nullish(v.string(), '');
const timeSchema = v.nullish(
  v.pipe(v.string(), v.check(isTimestamp, 'not an RFC 3339 time'), v.transform(normalizeTimestamp)),
  ZERO_TIME,
);

const annotationsSchema = v.object({
  mediaType: textSchema,
  diffID: v.nullish(v.union([v.literal(''), digestSchema], 'not a digest'), ''),
  size: v.nullish(sizeSchema, 0),
  createdAt: timeSchema,
});

const layerSchema = v.pipe(
  v.object({ blob: digestSchema, parent: indexSchema, annotations: v.nullish(annotationsSchema) }),
  v.transform(({ blob, parent, annotations }): ConfigLayer => ({
    blob,
    parent,
    ...(annotations ? { annotations } : {}),
  })),
);

const recordSchema = v.pipe(
  v.object({
    layers: v.nullish(v.array(v.object({ layer: indexSchema, createdAt: timeSchema })), []),
    chains: v.nullish(v.array(v.object({ layers: v.nullish(v.array(indexSchema), []), createdAt: timeSchema })), []),
    digest: digestSchema,
    inputs: v.nullish(v.array(v.nullish(v.array(v.object({ selector: textSchema, link: indexSchema })), [])), []),
  }),
  v.transform(({ layers: results, chains, digest, inputs }): CacheRecord => ({ digest, inputs, results, chains })),
);

const recordsSchema = v.nullish(v.array(recordSchema), []);
const configSchema = v.object({ layers: v.nullish(v.array(layerSchema), []), records: recordsSchema });

/**
 * Reads a cacheconfig. What Go leaves out when it is zero (parent, link, selector, lists) is filled in; whether the
 * indexes make sense is for `checkGraph` to say.
 *
 * @throws CacheError CORRUPT that names the field
 */
export function decodeCacheConfig(bytes: Uint8Array, where: string): CacheConfig {
  return parseJson(configSchema, bytes, where);
}

/**
 * Reads the records of an inline cache, which has no layers of its own (cache/remotecache/inline/inline.go).
 *
 * @throws CacheError CORRUPT that names the field
 */
export function decodeRecords(bytes: Uint8Array, where: string): readonly CacheRecord[] {
  return parseJson(recordsSchema, bytes, where);
}

/** A cacheconfig's bytes as BuildKit writes them: Go's field order, its zeros left out. */
export function encodeCacheConfig({ layers, records }: CacheConfig): Buffer {
  return goJson({
    ...list('layers', layers.map(plainLayer)),
    ...list('records', records.map(plainRecord)),
  });
}

/** The bytes of an inline cache: the records alone. */
export function encodeRecords(records: readonly CacheRecord[]): Buffer {
  return goJson(records.map(plainRecord));
}

/** Go's omitempty for lists. */
function list<T>(key: string, items: readonly T[]): Record<string, readonly T[]> {
  return items.length === 0 ? {} : { [key]: items };
}

function plainLayer({ blob, parent, annotations }: ConfigLayer): object {
  return {
    blob,
    ...(parent === 0 ? {} : { parent }),
    ...(annotations === undefined ? {} : { annotations: plainAnnotations(annotations) }),
  };
}

function plainAnnotations({ mediaType, diffID, size, createdAt }: LayerAnnotations): object {
  return {
    ...(mediaType === '' ? {} : { mediaType }),
    ...(diffID === '' ? {} : { diffID }),
    ...(size === 0 ? {} : { size }),
    createdAt,
  };
}

function plainRecord({ digest, inputs, results, chains }: CacheRecord): object {
  return {
    ...list(
      'layers',
      results.map(({ layer, createdAt }) => ({ layer, createdAt })),
    ),
    ...list(
      'chains',
      chains.map(({ layers, createdAt }) => ({ layers, createdAt })),
    ),
    digest,
    ...list(
      'inputs',
      inputs.map((alternatives) =>
        alternatives.map(({ selector, link }) => (selector === '' ? { link } : { selector, link })),
      ),
    ),
  };
}

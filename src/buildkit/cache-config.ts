import { type Digest, isDigest } from '../oci/digest.js';
import { checked, EMPTY, type GoType, int, list, parseGo, pointer, string, struct } from '../oci/go-types.js';
import { goJson } from '../oci/json.js';
import { timeType, type Timestamp, ZERO_TIME } from '../oci/go-time.js';

/** The graph of a build cache, `application/vnd.buildkit.cacheconfig.v0`: cache/remotecache/v1/types/spec.go. */
export interface CacheConfig {
  readonly layers: readonly ConfigLayer[];
  readonly records: readonly CacheRecord[];
}

/** A layer in the graph; several layers can have the same blob. */
export interface ConfigLayer {
  readonly blob: Digest;
  /** The index of the layer below, -1 for none. */
  readonly parent: number;
  /** Only in the cacheconfigs of s3, gha and azblob, which have no manifest. */
  readonly annotations?: LayerAnnotations | undefined;
}

export interface LayerAnnotations {
  readonly mediaType: string;
  readonly diffID: Digest | '';
  /** The size of the blob, in bytes. */
  readonly size: number;
  readonly createdAt: Timestamp;
}

/** A cache key: a step (`digest`), its inputs, and its results. */
export interface CacheRecord {
  /** Any text, as in Go: Docker's BuildKit 0.13 writes a random text for the image of a FROM. */
  readonly digest: string;
  /** For each input, the alternative records. */
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

/** A result that lists all its layers in order. */
export interface Chain {
  readonly layers: readonly number[];
  readonly createdAt: Timestamp;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** A layer during reading. */
type MutableLayer = Omit<Mutable<ConfigLayer>, 'blob'> & { blob: string };

const optionalDiffIDType = checked(string, (text, input, start): asserts text is Digest | '' => {
  if (text !== '' && !isDigest(text)) throw input.invalid(start, JSON.stringify(text), 'not a digest');
});

const annotationsType = struct<Mutable<LayerAnnotations>>(
  () => ({ mediaType: '', diffID: '', size: 0, createdAt: ZERO_TIME }),
  {
    mediaType: ['mediaType', string],
    diffID: ['diffID', optionalDiffIDType],
    size: ['size', int],
    createdAt: ['createdAt', timeType],
  },
);

/** A layer with a valid digest. Go accepts any text, and then finds no such layer in the manifest. */
const layerType: GoType<ConfigLayer, MutableLayer> = checked(
  struct<MutableLayer>(() => ({ blob: '', parent: 0 }), {
    blob: ['blob', string],
    parent: ['parent', int],
    annotations: ['annotations', pointer(annotationsType)],
  }),
  (layer, input, start): asserts layer is MutableLayer & { blob: Digest } => {
    const { blob } = layer;
    if (!isDigest(blob)) throw input.invalid(start, JSON.stringify(blob), 'not a digest', 'blob');
  },
);

const resultType = struct<Mutable<Result>>(() => ({ layer: 0, createdAt: ZERO_TIME }), {
  layer: ['layer', int],
  createdAt: ['createdAt', timeType],
});

const chainType = struct<Mutable<Chain>>(() => ({ layers: EMPTY, createdAt: ZERO_TIME }), {
  layers: ['layers', list(int)],
  createdAt: ['createdAt', timeType],
});

const linkType = struct<Mutable<Link>>(() => ({ selector: '', link: 0 }), {
  selector: ['selector', string],
  link: ['link', int],
});

const recordType = struct<Mutable<CacheRecord>>(() => ({ digest: '', inputs: EMPTY, results: EMPTY, chains: EMPTY }), {
  layers: ['results', list(resultType)],
  chains: ['chains', list(chainType)],
  digest: ['digest', string],
  inputs: ['inputs', list(list(linkType))],
});

const recordsType = list(recordType);

const configType = struct<Mutable<CacheConfig>>(() => ({ layers: EMPTY, records: EMPTY }), {
  layers: ['layers', list(layerType)],
  records: ['records', recordsType],
});

/**
 * Reads a cacheconfig. What Go leaves out when it is zero (parent, link, selector, lists) is filled in; whether the
 * indexes make sense is for `checkConfig` to say.
 *
 * @throws CacheError CORRUPT that names the field
 */
export function decodeCacheConfig(bytes: Uint8Array, where: string): CacheConfig {
  return parseGo(configType, bytes, where);
}

/**
 * Reads the records of an inline cache, whose layers are the image's (cache/remotecache/inline/inline.go).
 *
 * @throws CacheError CORRUPT that names the field
 */
export function decodeRecords(bytes: Uint8Array, where: string): readonly CacheRecord[] {
  return parseGo(recordsType, bytes, where);
}

/** A cacheconfig's bytes as BuildKit writes them: Go's field order, without zero values. */
export function encodeCacheConfig({ layers, records }: CacheConfig): Buffer {
  return goJson({
    ...some('layers', layers.map(plainLayer)),
    ...some('records', records.map(plainRecord)),
  });
}

/** The bytes of an inline cache: only the records. */
export function encodeRecords(records: readonly CacheRecord[]): Buffer {
  return goJson(records.map(plainRecord));
}

/** Go's omitempty for lists. */
function some<T>(key: string, items: readonly T[]): Record<string, readonly T[]> {
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
    ...some(
      'layers',
      results.map(({ layer, createdAt }) => ({ layer, createdAt })),
    ),
    ...some(
      'chains',
      chains.map(({ layers, createdAt }) => ({ layers, createdAt })),
    ),
    digest,
    ...some(
      'inputs',
      inputs.map((alternatives) =>
        alternatives.map(({ selector, link }) => (selector === '' ? { link } : { selector, link })),
      ),
    ),
  };
}

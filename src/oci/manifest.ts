import * as v from 'valibot';
import { CacheError } from '../errors.js';
import type { Descriptor } from './descriptor.js';
import { sha256 } from './digest.js';
import { compareText, digestSchema, goJson, parseJson, sizeSchema, sortedKeys } from './json.js';
import { DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST } from './media-types.js';

/**
 * Go decodes `null` as if the field were absent, and BuildKit writes it in some places; so it has to be read.
 */
const absent = <T extends v.GenericSchema>(schema: T) => v.nullish(schema);

export const descriptorSchema: v.GenericSchema<unknown, Descriptor> = v.pipe(
  v.looseObject({
    mediaType: absent(v.string()),
    digest: digestSchema,
    size: sizeSchema,
    urls: absent(v.array(v.string())),
    annotations: absent(v.record(v.string(), v.string())),
  }),
  // Null stands for absent, and an absent media type for the empty one, as in Go.
  v.transform((descriptor): Descriptor => {
    const present = Object.entries(descriptor).filter(([, value]) => value !== null && value !== undefined);
    return { mediaType: '', ...Object.fromEntries(present) } as Descriptor;
  }),
);

/** What else a manifest may have: annotations, a subject, and fields that are not known. */
export type ManifestFields = Readonly<Record<string, unknown>>;

/** An image manifest: image-spec manifest.md. A build cache is one whose config is a cacheconfig. */
export interface ImageManifest {
  readonly kind: 'manifest';
  readonly mediaType: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly fields?: ManifestFields;
}

/** An image index (image-spec image-index.md) or Docker manifest list. */
export interface ImageIndex {
  readonly kind: 'index';
  readonly mediaType: string;
  readonly manifests: readonly Descriptor[];
  readonly fields?: ManifestFields;
}

/** A manifest or config in memory, and what names it. */
export interface Document {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

/** Bytes with the descriptor that names them. */
export function documentOf(mediaType: string, bytes: Uint8Array): Document {
  return { descriptor: { mediaType, digest: sha256(bytes), size: bytes.length }, bytes };
}

export type Manifest = ImageManifest | ImageIndex;

const manifestSchema = v.looseObject({
  mediaType: absent(v.string()),
  config: absent(descriptorSchema),
  layers: absent(v.array(descriptorSchema)),
  manifests: absent(v.array(descriptorSchema)),
});

/**
 * Reads a manifest of either shape. The document's own mediaType decides, then the fields that it has, as in
 * util/imageutil/schema.go (DetectManifestBlobMediaType) of BuildKit.
 *
 * @throws CacheError CORRUPT
 */
export function decodeManifest(bytes: Uint8Array, where: string): Manifest {
  const { schemaVersion: _, mediaType, config, layers, manifests, ...fields } = parseJson(manifestSchema, bytes, where);
  const type = mediaType ?? (manifests ? OCI_INDEX : OCI_MANIFEST);
  if (type === OCI_INDEX || type === DOCKER_MANIFEST_LIST) {
    return { kind: 'index', mediaType: type, manifests: manifests ?? [], fields };
  }
  if (type !== OCI_MANIFEST && type !== DOCKER_MANIFEST) {
    throw new CacheError('CORRUPT', `${where} has media type ${type}, which is neither an image manifest nor an index`);
  }
  if (!config) throw new CacheError('CORRUPT', `${where} is neither an image manifest nor an index: it has no config`);
  return { kind: 'manifest', mediaType: type, config, layers: layers ?? [], fields };
}

const FIRST = ['mediaType', 'digest', 'size', 'urls', 'annotations', 'data', 'platform', 'artifactType'];

/** A descriptor with its fields in Go's order (image-spec specs-go/v1/descriptor.go), unknown ones behind them. */
export function orderedDescriptor(descriptor: Descriptor): Descriptor {
  const rank = (key: string) => (FIRST.includes(key) ? FIRST.indexOf(key) : FIRST.length);
  const keys = Object.keys(descriptor)
    .filter((key) => descriptor[key] !== undefined)
    .toSorted((a, b) => rank(a) - rank(b) || compareText(a, b));
  const ordered = Object.fromEntries(keys.map((key) => [key, descriptor[key]])) as Descriptor;
  return ordered.annotations === undefined ? ordered : { ...ordered, annotations: sortedKeys(ordered.annotations) };
}

/** A manifest's bytes as BuildKit writes them (cache/remotecache/export.go). */
export function encodeManifest(manifest: Manifest): Buffer {
  const { mediaType, fields } = manifest;
  return manifest.kind === 'index'
    ? goJson({ schemaVersion: 2, mediaType, manifests: manifest.manifests.map(orderedDescriptor), ...fields })
    : goJson({
        schemaVersion: 2,
        mediaType,
        config: orderedDescriptor(manifest.config),
        layers: manifest.layers.map(orderedDescriptor),
        ...fields,
      });
}

import { CacheError } from '../errors.js';
import { anyDescriptorType, type Descriptor, descriptorType } from './descriptor.js';
import { int, kept, list, parseGo, pointer, present, setOwn, string, stringMap, struct } from './go-types.js';
import { compareText, goJsonOf, type JsonText, sortedKeys } from './json.js';
import { DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST } from './media-types.js';

/** The other fields of a manifest: annotations, a subject, and unknown fields. */
export type ManifestFields = Readonly<Record<string, unknown>>;

/** An image manifest: image-spec manifest.md. A build cache in this shape has a cacheconfig as its config. */
interface ImageManifest {
  readonly kind: 'manifest';
  readonly mediaType: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly fields?: ManifestFields;
  /** Why BuildKit refuses the manifest although its meaning is clear. */
  readonly fault?: string;
}

/** An image index (image-spec image-index.md) or Docker manifest list. */
interface ImageIndex {
  readonly kind: 'index';
  readonly mediaType: string;
  readonly manifests: readonly Descriptor[];
  readonly fields?: ManifestFields;
  readonly fault?: string;
}

export type Manifest = ImageManifest | ImageIndex;

/** The fields of both kinds, as Go reads them: image-spec specs-go/v1/manifest.go and index.go. */
interface ManifestContent {
  mediaType?: string | undefined;
  config?: Descriptor | undefined;
  layers?: readonly Descriptor[] | undefined;
  manifests?: readonly Descriptor[] | undefined;
  schemaVersion: number;
  annotations?: JsonText | undefined;
  subject?: JsonText | undefined;
  artifactType?: JsonText | undefined;
  readonly others: Record<string, JsonText>;
}

const manifestType = struct<ManifestContent>(
  () => ({ schemaVersion: 0, others: {} }),
  {
    schemaVersion: ['schemaVersion', int],
    mediaType: ['mediaType', pointer(string)],
    config: ['config', present(descriptorType)],
    layers: ['layers', present(list(descriptorType))],
    manifests: ['manifests', present(list(descriptorType))],
    subject: ['subject', kept(anyDescriptorType)],
    annotations: ['annotations', kept(stringMap)],
    artifactType: ['artifactType', kept(string)],
  },
  ({ others }, name, text) => setOwn(others, name, text),
);

/**
 * Reads a manifest of either shape as BuildKit does: an image manifest has a config or layers, an index has neither, and
 * the media type must not contradict that (util/imageutil/config.go, DetectManifestBlobMediaType). A manifest that
 * contradicts itself is read by its media type, and gets a `fault`.
 *
 * @throws CacheError CORRUPT
 */
export function decodeManifest(bytes: Uint8Array, where: string): Manifest {
  const {
    schemaVersion: _,
    mediaType,
    config,
    layers,
    manifests,
    others,
    ...known
  } = parseGo(manifestType, bytes, where);
  const isManifest = config !== undefined || layers !== undefined;
  const type = mediaType || (isManifest || manifests === undefined ? OCI_MANIFEST : OCI_INDEX);
  const isIndexType = type === OCI_INDEX || type === DOCKER_MANIFEST_LIST;
  if (!isIndexType && type !== OCI_MANIFEST && type !== DOCKER_MANIFEST) {
    throw new CacheError('CORRUPT', `${where} has media type ${type}, which is neither an image manifest nor an index`);
  }
  const fields = { ...known, ...others };
  const fault = contradiction(isManifest, manifests !== undefined, isIndexType);
  if (isIndexType) return { kind: 'index', mediaType: type, manifests: manifests ?? [], fields, ...fault };
  if (config === undefined) {
    throw new CacheError('CORRUPT', `${where} is neither an image manifest nor an index: it has no config`);
  }
  return { kind: 'manifest', mediaType: type, config, layers: layers ?? [], fields, ...fault };
}

function contradiction(isManifest: boolean, hasManifests: boolean, isIndexType: boolean): { fault?: string } {
  if (isManifest && hasManifests) return { fault: 'it has both manifests and a config or layers' };
  if (isManifest && isIndexType) return { fault: 'its media type is that of an index, and it has a config or layers' };
  return {};
}

const FIRST = ['mediaType', 'digest', 'size', 'urls', 'annotations', 'data', 'platform', 'artifactType'];

/** A descriptor with its fields in Go's order (image-spec specs-go/v1/descriptor.go), unknown fields last. */
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
    ? goJsonOf({ schemaVersion: 2, mediaType, manifests: manifest.manifests.map(orderedDescriptor), ...fields })
    : goJsonOf({
        schemaVersion: 2,
        mediaType,
        config: orderedDescriptor(manifest.config),
        layers: manifest.layers.map(orderedDescriptor),
        ...fields,
      });
}

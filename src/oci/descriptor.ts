import { type Digest, isDigest } from './digest.js';
import {
  bytes,
  checked,
  EMPTY,
  type GoType,
  int,
  kept,
  list,
  pointer,
  setOwn,
  string,
  stringMap,
  struct,
} from './go-types.js';
import type { JsonText } from './json.js';

export type Annotations = Readonly<Record<string, string>>;

/** A content descriptor: image-spec descriptor.md. Unknown fields are kept. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Of the raw content, in bytes. */
  readonly size: number;
  readonly urls?: readonly string[];
  readonly annotations?: Annotations;
  readonly [field: string]: unknown;
}

/** The part of a descriptor that names bytes. */
export type BlobId = Pick<Descriptor, 'digest' | 'size'>;

/** A descriptor during reading. */
interface MutableDescriptor {
  mediaType: string;
  digest: string;
  size: number;
  urls?: readonly string[] | undefined;
  annotations?: Annotations | undefined;
  data?: JsonText | undefined;
  platform?: JsonText | undefined;
  artifactType?: JsonText | undefined;
}

const NO_FEATURES: readonly string[] = EMPTY;

const platformType = struct(() => ({ architecture: '', os: '', osVersion: '', osFeatures: NO_FEATURES, variant: '' }), {
  architecture: ['architecture', string],
  os: ['os', string],
  'os.version': ['osVersion', string],
  'os.features': ['osFeatures', list(string)],
  variant: ['variant', string],
});

/** A descriptor as Go reads it, with any text as its digest: image-spec specs-go/v1/descriptor.go. */
export const anyDescriptorType = struct<MutableDescriptor>(
  () => ({ mediaType: '', digest: '', size: 0 }),
  {
    mediaType: ['mediaType', string],
    digest: ['digest', string],
    size: ['size', int],
    urls: ['urls', pointer(list(string))],
    annotations: ['annotations', stringMap],
    data: ['data', kept(bytes)],
    platform: ['platform', kept(platformType)],
    artifactType: ['artifactType', kept(string)],
  },
  (descriptor, name, text) => setOwn<unknown>(descriptor as object as Record<string, unknown>, name, text),
);

/** A descriptor with a valid digest, since paths and URLs are made of it, and a size of 0 or more. */
export const descriptorType: GoType<Descriptor, MutableDescriptor> = checked(
  anyDescriptorType,
  (descriptor, input, start): asserts descriptor is Descriptor => {
    const { digest, size } = descriptor;
    if (!isDigest(digest)) throw input.invalid(start, JSON.stringify(digest), 'not a digest', 'digest');
    if (size < 0) throw input.invalid(start, `${size}`, 'not a size', 'size');
  },
);

/** The digest of the uncompressed layer, its diffID (containerd, pkg/labels). */
export const UNCOMPRESSED = 'containerd.io/uncompressed';
/** The time when BuildKit made the layer. */
export const CREATED_AT = 'buildkit/createdat';
/** The step that made the layer, on layers whose image has a history. */
export const DESCRIPTION = 'buildkit/description';
/** The digest of an eStargz blob's table of contents (stargz-snapshotter, estargz/types.go). */
export const ESTARGZ_TOC_DIGEST = 'containerd.io/snapshot/stargz/toc.digest';
/** The size of an eStargz blob's uncompressed stream (stargz-snapshotter, estargz/types.go). */
export const ESTARGZ_UNCOMPRESSED_SIZE = 'io.containers.estargz.uncompressed-size';
/**
 * The prefixes of annotations about a layer's compressed bytes: eStargz, zstd:chunked, Nydus and overlaybd. These
 * annotations are removed when the layer is recompressed.
 */
const OF_THE_BYTES: readonly string[] = [
  'containerd.io/snapshot/stargz/',
  'containerd.io/snapshot/nydus-',
  'containerd.io/snapshot/overlaybd',
  'io.containers.estargz.',
  'io.github.containers.zstd-chunked.',
];

/** The annotations that stay true when a layer is recompressed. Unknown annotations stay. */
function annotationsOfTar(annotations: Annotations): Annotations {
  const isOfBytes = (name: string) => OF_THE_BYTES.some((prefix) => name.startsWith(prefix));
  return Object.fromEntries(Object.entries(annotations).filter(([name]) => !isOfBytes(name)));
}

/** The descriptor of a recompressed layer, without statements about the old bytes. */
export function recompressedLayer(layer: Descriptor, blob: BlobId & Partial<Descriptor>): Descriptor {
  // urls and data are about the old bytes.
  const { urls: _urls, data: _data, ...kept } = layer;
  return { ...kept, ...blob, annotations: { ...annotationsOfTar(layer.annotations ?? {}), ...blob.annotations } };
}

/** A tag, in index.json: image-spec annotations.md. */
export const REF_NAME = 'org.opencontainers.image.ref.name';
/** A full image name, in index.json: containerd, core/images/annotations.go. */
export const IMAGE_NAME = 'io.containerd.image.name';

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

/** A content descriptor: image-spec descriptor.md. Fields that are not known here are kept as they are. */
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

/** A descriptor while it is read. */
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

/** Descriptor of image-spec specs-go/v1/descriptor.go, as Go reads it: with any digest. */
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

/** A descriptor whose digest has the form of one, since paths and addresses are made of it, and whose size is one. */
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
/** When BuildKit made the layer. */
export const CREATED_AT = 'buildkit/createdat';
/** The step that made the layer, on those that come from an image's history. */
export const DESCRIPTION = 'buildkit/description';
/** The digest of an eStargz blob's table of contents (stargz-snapshotter, estargz/types.go). */
export const ESTARGZ_TOC_DIGEST = 'containerd.io/snapshot/stargz/toc.digest';
/** The size of an eStargz blob's uncompressed stream (stargz-snapshotter, estargz/types.go). */
export const ESTARGZ_UNCOMPRESSED_SIZE = 'io.containers.estargz.uncompressed-size';
/**
 * Annotations that say where something is in a layer's bytes, or how they were made: those of eStargz, zstd:chunked, Nydus
 * and overlaybd. They go when the layer is compressed again.
 */
const OF_THE_BYTES: readonly string[] = [
  'containerd.io/snapshot/stargz/',
  'containerd.io/snapshot/nydus-',
  'containerd.io/snapshot/overlaybd',
  'io.containers.estargz.',
  'io.github.containers.zstd-chunked.',
];

/** The annotations of a layer that hold for any bytes of its tar; those that are not known stay. */
function annotationsOfTar(annotations: Annotations): Annotations {
  const isOfBytes = (name: string) => OF_THE_BYTES.some((prefix) => name.startsWith(prefix));
  return Object.fromEntries(Object.entries(annotations).filter(([name]) => !isOfBytes(name)));
}

/** The descriptor of a layer whose tar is in another blob now, which says nothing of the old bytes any more. */
export function recompressedLayer(layer: Descriptor, blob: BlobId & Partial<Descriptor>): Descriptor {
  // Neither the places to fetch the old bytes from nor a copy of them belong to the new blob.
  const { urls: _urls, data: _data, ...kept } = layer;
  return { ...kept, ...blob, annotations: { ...annotationsOfTar(layer.annotations ?? {}), ...blob.annotations } };
}

/** A tag, in index.json: image-spec annotations.md. */
export const REF_NAME = 'org.opencontainers.image.ref.name';
/** A full image name, in index.json: containerd, core/images/annotations.go. */
export const IMAGE_NAME = 'io.containerd.image.name';

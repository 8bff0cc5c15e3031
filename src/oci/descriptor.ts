import type { Digest } from './digest.js';

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
/** A tag, in index.json: image-spec annotations.md. */
export const REF_NAME = 'org.opencontainers.image.ref.name';
/** A full image name, in index.json: containerd, core/images/annotations.go. */
export const IMAGE_NAME = 'io.containerd.image.name';

/** Media types of image-spec media-types.md, of Docker's schema 2, and of BuildKit. */
export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
export const DOCKER_MANIFEST_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json';
export const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
/** From the release candidates of image-spec 1.1; still found in some registries. */
const ARTIFACT_MANIFEST = 'application/vnd.oci.artifact.manifest.v1+json';
export const OCI_IMAGE_CONFIG = 'application/vnd.oci.image.config.v1+json';
export const DOCKER_IMAGE_CONFIG = 'application/vnd.docker.container.image.v1+json';
/** cache/remotecache/v1/types/spec.go */
export const CACHE_CONFIG = 'application/vnd.buildkit.cacheconfig.v0';

/** The compression in a layer's media type; estargz layers have the media type of gzip. */
export type LayerEncoding = 'uncompressed' | 'gzip' | 'zstd';

/** A family of layer media types, which differ in the suffix for the compression. */
interface Family {
  readonly base: string;
  readonly separator: '+' | '.';
  readonly docker: boolean;
  /** Layers of this family may not be distributed, and are never converted. */
  readonly nonDistributable: boolean;
}

/** A layer that is not compressed: image-spec layer.md. */
export const OCI_LAYER = 'application/vnd.oci.image.layer.v1.tar';

const FAMILIES: readonly Family[] = [
  { base: OCI_LAYER, separator: '+', docker: false, nonDistributable: false },
  {
    base: 'application/vnd.oci.image.layer.nondistributable.v1.tar',
    separator: '+',
    docker: false,
    nonDistributable: true,
  },
  { base: 'application/vnd.docker.image.rootfs.diff.tar', separator: '.', docker: true, nonDistributable: false },
  {
    base: 'application/vnd.docker.image.rootfs.foreign.diff.tar',
    separator: '.',
    docker: true,
    nonDistributable: true,
  },
];
const SUFFIXES: Readonly<Record<LayerEncoding, string>> = { uncompressed: '', gzip: 'gzip', zstd: 'zstd' };

function build(family: Family, encoding: LayerEncoding): string {
  const suffix = SUFFIXES[encoding];
  return suffix === '' ? family.base : `${family.base}${family.separator}${suffix}`;
}

const LAYERS: ReadonlyMap<string, { readonly family: Family; readonly encoding: LayerEncoding }> = new Map(
  FAMILIES.flatMap((family) =>
    (['uncompressed', 'gzip', 'zstd'] as const).map(
      (encoding) => [build(family, encoding), { family, encoding }] as const,
    ),
  ),
);

/** The compression that a layer's media type names; undefined for a media type that is not a layer's. */
export function layerEncoding(mediaType: string): LayerEncoding | undefined {
  return LAYERS.get(mediaType)?.encoding;
}

/** Whether the layer is non-distributable (OCI) or foreign (Docker). */
export function isNonDistributable(mediaType: string): boolean {
  return LAYERS.get(mediaType)?.family.nonDistributable ?? false;
}

/** The OCI or Docker form of a layer's media type; another media type comes back as it is. */
export function layerMediaType(
  mediaType: string,
  { docker, encoding }: { readonly docker: boolean; readonly encoding?: LayerEncoding },
): string {
  const found = LAYERS.get(mediaType);
  if (found === undefined) return mediaType;
  const family = FAMILIES.find((f) => f.docker === docker && f.nonDistributable === found.family.nonDistributable);
  return family === undefined ? mediaType : build(family, encoding ?? found.encoding);
}

/** The OCI media type of a layer with this encoding, in the family of `mediaType` if that is a layer's. */
export function typeFor(mediaType: string, encoding: LayerEncoding): string {
  return layerMediaType(layerEncoding(mediaType) === undefined ? OCI_LAYER : mediaType, { docker: false, encoding });
}

const IMAGES: ReadonlySet<string> = new Set([OCI_INDEX, OCI_MANIFEST, DOCKER_MANIFEST_LIST, DOCKER_MANIFEST]);

/** Whether an entry with this media type can be an image, a cache or an index. Old entries have no media type. */
export function isImageType(mediaType: string): boolean {
  return mediaType === '' || IMAGES.has(mediaType);
}

/** Whether the media type is that of a manifest or index. */
export function isManifestType(mediaType: string): boolean {
  return IMAGES.has(mediaType) || mediaType === ARTIFACT_MANIFEST;
}

/** Whether a manifest's media type is Docker's. */
export function isDocker(mediaType: string): boolean {
  return mediaType.startsWith('application/vnd.docker.');
}

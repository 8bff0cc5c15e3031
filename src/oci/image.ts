import * as v from 'valibot';
import { CacheError } from '../errors.js';
import type { Descriptor } from './descriptor.js';
import type { Digest } from './digest.js';
import { digestSchema, parseJson } from './json.js';
import { DOCKER_IMAGE_CONFIG, OCI_IMAGE_CONFIG } from './media-types.js';

/** The field of an image config that holds a build cache (exporter/containerimage/writer.go, patchImageConfig). */
export const INLINE_CACHE = 'moby.buildkit.cache.v0';

/** The digest of the image that an attestation is about, on its entry in an index (util/attestation/types.go). */
export const REFERENCE_DIGEST = 'vnd.docker.reference.digest';
const REFERENCE_TYPE = 'vnd.docker.reference.type';

/** What a build cache needs to know of an image config: image-spec config.md. */
export interface ImageConfig {
  /** `os/architecture`, with the variant where there is one. */
  readonly platform: string;
  /** Of the layers, the lowest first. */
  readonly diffIDs: readonly Digest[];
  /** What made each layer, the lowest first; steps that made none are left out. */
  readonly history: readonly LayerHistory[];
  /** The JSON of the records of its build cache. */
  readonly cache: Uint8Array | undefined;
}

export interface LayerHistory {
  readonly created: string | undefined;
  readonly createdBy: string | undefined;
}

const text = v.nullish(v.string(), '');

const imageSchema = v.looseObject({
  os: text,
  architecture: text,
  variant: text,
  rootfs: v.nullish(v.looseObject({ diff_ids: v.nullish(v.array(digestSchema), []) })),
  history: v.nullish(
    v.array(v.looseObject({ created: text, created_by: text, empty_layer: v.nullish(v.boolean(), false) })),
    [],
  ),
  [INLINE_CACHE]: v.nullish(v.string()),
});

/**
 * Reads an image config.
 *
 * @throws CacheError CORRUPT
 */
export function decodeImageConfig(bytes: Uint8Array, where: string): ImageConfig {
  const { os, architecture, variant, rootfs, history, [INLINE_CACHE]: cache } = parseJson(imageSchema, bytes, where);
  return {
    platform: [os || 'unknown', architecture || 'unknown', ...(variant === '' ? [] : [variant])].join('/'),
    diffIDs: rootfs?.diff_ids ?? [],
    history: history
      .filter(({ empty_layer: empty }) => !empty)
      .map(({ created, created_by: createdBy }) => ({
        created: created || undefined,
        createdBy: createdBy || undefined,
      })),
    cache: cache ? decodeBase64(cache, `${where}: ${INLINE_CACHE}`) : undefined,
  };
}

/** Whether a manifest with this config is an image, and not an artifact of some other kind. */
export function isImageConfig({ mediaType }: Descriptor): boolean {
  return mediaType === OCI_IMAGE_CONFIG || mediaType === DOCKER_IMAGE_CONFIG;
}

/** Whether an entry of an index says something about an image (provenance, SBOM), and is none. */
export function isAttestation({ annotations }: Descriptor): boolean {
  return annotations?.[REFERENCE_TYPE] === 'attestation-manifest';
}

/** Base64 as Go reads it: nothing is passed over that does not belong there. */
function decodeBase64(encoded: string, where: string): Uint8Array {
  const bytes = Buffer.from(encoded, 'base64');
  if (bytes.toString('base64') !== encoded) throw new CacheError('CORRUPT', `${where} is not base64`);
  return bytes;
}

import { decodeRecords } from '../../buildkit/cache-config.js';
import { CacheError } from '../../errors.js';
import { describeLayers, inlineGraph } from '../../graph/inline.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { decodeImageConfig, historyFault, type ImageConfig } from '../../oci/image.js';
import type { ImageManifest } from '../../oci/manifest.js';
import { checkRecords, type Context } from './check-cache.js';

/** The config of an image, as far as it can be read. */
export type ImageContent = Partial<ImageConfig> & { readonly fault?: CacheError };

/** @param isExpected - whether it has to be the config of an image, and not anything */
export function imageConfig(bytes: Uint8Array, { digest }: Descriptor, isExpected: boolean): ImageContent | undefined {
  try {
    return decodeImageConfig(bytes, digest);
  } catch (fault) {
    if (!(fault instanceof CacheError)) throw fault;
    return isExpected ? { fault } : undefined;
  }
}

interface FoundImage {
  readonly digest: Digest;
  readonly manifest: ImageManifest;
  readonly image: ImageContent | undefined;
  /** Whether BuildKit reads its config when it imports. */
  readonly required: boolean;
}

/** Says what is wrong with the cache in an image. One without a cache may be there in part, and is only noted. */
export function checkImage(context: Context, { digest, manifest, image, required }: FoundImage): void {
  const { needs, origin, report } = context;
  const { config, layers } = manifest;
  needs.add(config, required ? 'config' : 'part', required, origin);
  if (image?.fault !== undefined) {
    const about = { kind: 'document', effect: 'import-refused', wrong: 'format' } as const;
    report.say({ ...about, message: image.fault.message, digest: config.digest }, [origin]);
  }
  if (image?.cache === undefined) {
    for (const layer of layers) needs.add(layer, 'part', false, origin);
    if (image?.fault === undefined && !required) noteWithoutCache(context, digest, manifest, image);
    return;
  }
  checkInline(context, digest, manifest, image);
}

function noteWithoutCache(
  { report, origin }: Context,
  digest: Digest,
  { fields, config }: ImageManifest,
  image: ImageContent | undefined,
): void {
  const artifactType = fields?.['artifactType'];
  const type = typeof artifactType === 'string' ? artifactType : config.mediaType;
  const isArtifact = image?.diffIDs === undefined || image.diffIDs.length === 0;
  const message = isArtifact
    ? `an artifact of type ${type}, and no build cache`
    : 'an image without a build cache: BuildKit imports nothing from it';
  report.say({ severity: 'note', kind: 'unknown', message, digest }, [origin]);
}

/** cache/remotecache/import.go, importInlineCache. */
function checkInline(context: Context, digest: Digest, manifest: ImageManifest, image: ImageContent): void {
  const { report, needs, origin } = context;
  const { diffIDs = [], history = [], cache = Buffer.of() } = image;
  const { config, layers } = manifest;
  if (layers.length !== diffIDs.length || layers.length === 0) {
    const message =
      layers.length === 0
        ? 'an image with a cache has no layers: BuildKit ignores the cache'
        : 'the manifest of an image and its config have different numbers of layers: BuildKit ignores the cache';
    const numbers = { expected: `${layers.length} layers`, found: `${diffIDs.length} diffIDs` };
    report.say({ kind: 'graph', effect: 'results-vanish', wrong: 'diffID', message, digest, ...numbers }, [origin]);
    for (const layer of layers) needs.add(layer, 'part', false, origin);
    return;
  }
  const described = describeLayers(layers, { platform: '', cache: undefined, diffIDs, history });
  for (const layer of described) needs.add(layer, 'layer', true, origin);
  const fault = historyFault(history.length, layers.length);
  if (fault !== undefined) {
    const numbers = { expected: `${layers.length} entries`, found: `${history.length} entries` };
    const about = { kind: 'document', effect: 'daemon-exits', wrong: 'history' } as const;
    report.say({ ...about, message: fault, digest: config.digest, ...numbers }, [origin]);
  }
  try {
    checkRecords(context, inlineGraph(described, decodeRecords(cache, config.digest)), config.digest);
  } catch (error) {
    if (!(error instanceof CacheError)) throw error;
    const about = { kind: 'document', effect: 'import-refused', wrong: 'format' } as const;
    report.say({ ...about, message: `the cache in an image cannot be read: ${error.message}`, digest: config.digest }, [
      origin,
    ]);
  }
}

import { decodeRecords } from '../../buildkit/cache-config.js';
import { CacheError } from '../../errors.js';
import { describeLayers, inlineGraph } from '../../graph/inline.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { decodeImageConfig, historyFault, type ImageConfig } from '../../oci/image.js';
import { JsonText } from '../../oci/json.js';
import type { ManifestFields } from '../../oci/manifest.js';
import { checkRecords, type Context } from './check-cache.js';

/** What helps where repair leaves an image as it is: it corrects the history, and what is said of layers. */
export const MAKE_AGAIN = 'build the image again with its cache, or copy a cache into it again (type=inline)';

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
  /** Of its manifest. */
  readonly digest: Digest;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly fields: ManifestFields | undefined;
  readonly image: ImageContent | undefined;
  /** Whether BuildKit reads its config when it imports. */
  readonly required: boolean;
}

/** Says what is wrong with the cache in an image. One without a cache may be there in part, and is only noted. */
export function checkImage(context: Context, found: FoundImage): void {
  const { needs, origin, report } = context;
  const { config, layers, image, required } = found;
  needs.add(config, required ? 'config' : 'part', required, origin);
  if (image?.fault !== undefined) {
    const about = { kind: 'document', effect: 'import-refused', wrong: 'format', hint: MAKE_AGAIN } as const;
    report.say({ ...about, message: image.fault.message, digest: config.digest }, [origin]);
  }
  if (image?.cache === undefined) {
    for (const layer of layers) needs.add(layer, 'part', false, origin);
    if (image?.fault === undefined && !required) noteWithoutCache(context, found);
    return;
  }
  checkInline(context, found, image);
}

function noteWithoutCache({ report, origin }: Context, { digest, config, fields, image }: FoundImage): void {
  const stated = fields?.['artifactType'];
  const artifactType = stated instanceof JsonText ? stated.toJSON() : undefined;
  const type = typeof artifactType === 'string' && artifactType !== '' ? artifactType : config.mediaType;
  const isArtifact = image?.diffIDs === undefined || image.diffIDs.length === 0;
  const message = isArtifact
    ? `an artifact of type ${type}, and no build cache`
    : 'an image without a build cache: BuildKit imports nothing from it';
  report.say({ severity: 'note', kind: 'unknown', message, digest }, [origin]);
}

/** cache/remotecache/import.go, importInlineCache. */
function checkInline(context: Context, { digest, config, layers }: FoundImage, image: ImageContent): void {
  const { report, needs, origin } = context;
  const { diffIDs = [], history = [], cache = Buffer.of() } = image;
  if (layers.length !== diffIDs.length || layers.length === 0) {
    const message =
      layers.length === 0
        ? 'an image with a cache has no layers: BuildKit ignores the cache'
        : 'the manifest of an image and its config have different numbers of layers: BuildKit ignores the cache';
    const numbers = { expected: `${layers.length} layers`, found: `${diffIDs.length} diffIDs` };
    const about = { kind: 'graph', effect: 'results-vanish', wrong: 'diffID', hint: MAKE_AGAIN } as const;
    report.say({ ...about, message, digest, ...numbers }, [origin]);
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
    checkRecords(context, inlineGraph(described, decodeRecords(cache, config.digest)), config.digest, MAKE_AGAIN);
  } catch (error) {
    if (!(error instanceof CacheError)) throw error;
    const about = { kind: 'document', effect: 'import-refused', wrong: 'format', hint: MAKE_AGAIN } as const;
    report.say({ ...about, message: `the cache in an image cannot be read: ${error.message}`, digest: config.digest }, [
      origin,
    ]);
  }
}

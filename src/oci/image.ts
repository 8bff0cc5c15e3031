import type { Descriptor } from './descriptor.js';
import { type Digest, isDigest } from './digest.js';
import { type Timestamp, timeType } from './go-time.js';
import { bool, bytes, checked, EMPTY, type GoType, list, parseGo, pointer, string, struct } from './go-types.js';
import { DOCKER_IMAGE_CONFIG, OCI_IMAGE_CONFIG } from './media-types.js';

/** The field of an image config with a build cache (exporter/containerimage/writer.go, patchImageConfig). */
export const INLINE_CACHE = 'moby.buildkit.cache.v0';

/** The fields of an image config that a build cache needs: image-spec config.md. */
export interface ImageConfig {
  /** `os/architecture` or `os/architecture/variant`. */
  readonly platform: string;
  /** The diffIDs of the layers, the lowest first. */
  readonly diffIDs: readonly Digest[];
  /** The steps that made the layers, the lowest first; without steps that made no layer. */
  readonly history: readonly LayerHistory[];
  /** The JSON of the records of its build cache. */
  readonly cache: Uint8Array | undefined;
}

interface LayerHistory {
  readonly created: Timestamp | undefined;
  readonly createdBy: string | undefined;
}

/** The struct that BuildKit reads to find a cache in an image (cache/remotecache/import.go, image), with the platform. */
interface GoImage {
  os: string;
  architecture: string;
  variant: string;
  readonly rootfs: { diffIDs: readonly Digest[] };
  history: readonly HistoryEntry[];
  cache?: Uint8Array | undefined;
}

interface HistoryEntry {
  created?: Timestamp | undefined;
  createdBy: string;
  isEmpty: boolean;
}

/** A text, or a value of any other type, which is skipped: BuildKit does not read the platform here. */
const anyText: GoType<string> = {
  zero: () => '',
  read(input, before) {
    if (input.isString()) return input.string();
    input.skip();
    return before;
  },
};

const layerDiffIDType = checked(string, (text, input, start): asserts text is Digest => {
  if (!isDigest(text)) throw input.invalid(start, JSON.stringify(text), 'not a digest');
});

const NO_DIFF_IDS: readonly Digest[] = EMPTY;

const imageType = struct<GoImage>(
  () => ({ os: '', architecture: '', variant: '', rootfs: { diffIDs: EMPTY }, history: EMPTY }),
  {
    os: ['os', anyText],
    architecture: ['architecture', anyText],
    variant: ['variant', anyText],
    rootfs: ['rootfs', struct(() => ({ diffIDs: NO_DIFF_IDS }), { diff_ids: ['diffIDs', list(layerDiffIDType)] })],
    history: [
      'history',
      list(
        struct<HistoryEntry>(() => ({ createdBy: '', isEmpty: false }), {
          created: ['created', pointer(timeType)],
          created_by: ['createdBy', string],
          empty_layer: ['isEmpty', bool],
        }),
      ),
    ],
    [INLINE_CACHE]: ['cache', bytes],
  },
);

/**
 * Reads an image config.
 *
 * @throws CacheError CORRUPT
 */
export function decodeImageConfig(content: Uint8Array, where: string): ImageConfig {
  const { os, architecture, variant, rootfs, history, cache } = parseGo(imageType, content, where);
  return {
    platform: [os || 'unknown', architecture || 'unknown', ...(variant === '' ? [] : [variant])].join('/'),
    diffIDs: rootfs.diffIDs,
    history: history
      .filter(({ isEmpty }) => !isEmpty)
      .map(({ created, createdBy }) => ({ created, createdBy: createdBy || undefined })),
    cache,
  };
}

/**
 * Why BuildKit's daemon exits when it imports the cache of an image: it looks for an entry of history for each layer
 * (cache/remotecache/import.go, importInlineCache), which image-spec config.md leaves optional.
 *
 * @param entries - the number of entries that made a layer
 */
export function historyFault(entries: number, layers: number): string | undefined {
  return entries >= layers
    ? undefined
    : `the config of an image has a history of ${entries} entries for ${layers} layers`;
}

/** Whether a manifest with this config is an image, and not another artifact. */
export function isImageConfig({ mediaType }: Descriptor): boolean {
  return mediaType === OCI_IMAGE_CONFIG || mediaType === DOCKER_IMAGE_CONFIG;
}

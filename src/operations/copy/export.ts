import type { Cache, CacheTarget } from '../../backend/backend.js';
import { hasManifest } from '../../buildkit/attributes.js';
import { type CacheOptions, compressionOptions, flag, type OnNote } from '../../buildkit/options.js';
import type { Encoding } from '../../codec/compression.js';
import type { Shape } from '../../graph/save.js';
import type { WorkOptions } from '../work-options.js';
import type { ProgressEvent } from './progress.js';

/** One export: what is exported, where to, and how. */
export interface Export {
  readonly cache: Cache;
  readonly target: CacheTarget;
  readonly request: ExportRequest;
  readonly options: TransferOptions;
}

/** The limits of an export, and its listeners. */
export interface TransferOptions extends WorkOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((event: ProgressEvent) => void) | undefined;
  /** Is told of foreign layers that stay out, and of exports that only some releases of BuildKit read. */
  readonly onNote?: OnNote | undefined;
}

/** The compression that was asked for; `force`: also for layers that are compressed otherwise. BuildKit's name for it. */
export interface CompressionConfig {
  readonly encoding: Encoding;
  readonly force: boolean;
}

/** What an export string asks for, apart from the target. */
export interface ExportRequest {
  readonly isMin: boolean;
  /** Undefined for caches without a manifest of their own. */
  readonly shape: Shape | undefined;
  /** Undefined where the layers stay as they are. */
  readonly compression: CompressionConfig | undefined;
  /** Whether the other exports go on when this one fails. */
  readonly ignoresErrors: boolean;
}

/** @param source - the shape of what is copied; undefined where it has none, or there are several sources */
export function readRequest(options: CacheOptions, source: Shape | undefined): ExportRequest {
  return {
    isMin: options.attributes['mode'] === 'min',
    shape: exportShape(options, source),
    compression: compressionConfig(options),
    ignoresErrors: flag(options, 'ignore-error') === true,
  };
}

/** BuildKit's compression is gzip when only a level or force is named. */
function compressionConfig(options: CacheOptions): CompressionConfig | undefined {
  const { compression = 'gzip', level, force } = compressionOptions(options);
  const isNamed = options.attributes['compression'] !== undefined || level !== undefined || force;
  return isNamed ? { encoding: { compression, ...(level === undefined ? {} : { level }) }, force } : undefined;
}

/**
 * The shape that an export has: what image-manifest= and oci-mediatypes= name, the source's where they are silent, and
 * that of BuildKit where there is no one source (cache/remotecache/local/local.go). Only OCI's media types have image
 * manifests. A Docker list with image-manifest=false alone stays one, though BuildKit's defaults would make an OCI index
 * of it: nobody has named the media types.
 */
function exportShape(options: CacheOptions, source: Shape | undefined): Shape | undefined {
  if (!hasManifest(options.type)) return undefined;
  const asked = flag(options, 'image-manifest');
  const oci = flag(options, 'oci-mediatypes') ?? (asked === true || source !== 'docker-list');
  if (oci) return (asked ?? (source === undefined || source === 'image-manifest')) ? 'image-manifest' : 'index';
  return 'docker-list';
}

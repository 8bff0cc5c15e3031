import { checkCall } from '../../calls.js';
import { agreedGraphs } from './agreement.js';
import type { Cache, CacheSource, CacheTarget, HeldCache, ImageFit, Publication } from '../../backend/backend.js';
import { Brought } from './brought.js';
import { exportShape } from './export-shape.js';
import { readExport, readImport } from '../../backend/option-string.js';
import { checkExports, checkImports, openSource, openTarget } from '../../backend/open.js';
import { refuseOverlaps } from './collisions.js';
import { type CacheOptions, compressionOf, flag, type OnNote } from '../../buildkit/options.js';
import { abortable, CacheError } from '../../errors.js';
import type { Graph } from '../../graph/graph.js';
import { merge } from '../../graph/merge.js';
import { min } from '../../graph/min.js';
import { replaceBlobs } from '../../graph/replace.js';
import { smallest } from '../../graph/smallest.js';
import type { LayoutSettings } from '../../layout/layout.js';
import { rewriting } from '../../layout/blobs/lost-blobs.js';
import type { Shape } from '../../graph/save.js';
import { type Registries, type RegistryAccess, withRegistries } from '../../net/registry/registries.js';
import type { BlobId, Descriptor } from '../../oci/descriptor.js';
import { topOf } from '../../oci/document.js';
import { isNonDistributable, layerEncoding } from '../../oci/media-types.js';
import { type Conversion, corrections, planBlobs, tarsOf } from './plan.js';
import { type ProgressEvent, transfer, type Transferred, withPresent } from './transfer.js';

export interface CopyOptions {
  /** Import strings, as `--import-cache` takes them. Several become one cache. */
  readonly imports: readonly string[];
  /** Export strings, as `--export-cache` takes them. */
  readonly exports: readonly string[];
  /** Layers at once; as many as there are cores by default. */
  readonly concurrency?: number | undefined;
  /** Share the files of layers that are copied unchanged between folders, instead of copying their bytes. */
  readonly hardlink?: boolean | undefined;
  /** Write a config or manifest over 1 MiB, which BuildKit will not import. */
  readonly allowOversize?: boolean | undefined;
  /** How registries are reached. */
  readonly registry?: RegistryAccess | undefined;
  /** The most that a layer may unpack to, in bytes; 128 GiB by default. */
  readonly maxLayerSize?: number | undefined;
  /** What the windows of all zstd layers that are read at once may have together, in bytes; 1 GiB by default. */
  readonly windowMemory?: number | undefined;
  /** How folders are read and written; what is left out is the default. */
  readonly layout?: Partial<LayoutSettings>;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((event: ProgressEvent) => void) | undefined;
  /** Is told of attributes without effect, and of exports that only some releases of BuildKit read. */
  readonly onNote?: OnNote | undefined;
}

/** What one export came to. */
export interface ExportResult extends Omit<Transferred, 'replacements'> {
  readonly target: string;
  /** The manifest that was written. */
  readonly descriptor: Descriptor;
  readonly mode: 'min' | 'max';
  /** Unset for a cache without a manifest of its own. */
  readonly shape: Shape | undefined;
  /** For type=inline: what of the cache went into the image of each platform, and what could not. */
  readonly images?: readonly ImageFit[];
  readonly layers: number;
  readonly records: number;
  /** In milliseconds. */
  readonly duration: number;
}

export interface CopyResult {
  readonly imports: readonly { readonly source: string; readonly records: number; readonly layers: number }[];
  readonly exports: readonly ExportResult[];
  /** Exports that failed and had ignore-error=true. */
  readonly ignored: readonly { readonly target: string; readonly error: Error }[];
}

/**
 * Copies build caches: all imports, as one, to each of the exports. What an export string names is done; what it does
 * not name stays as the source has it. A copy that changes nothing has the same manifest digest.
 *
 * Layers are written first, then config, manifest and tag: a reader of the target sees the old cache or the new one.
 *
 * @throws CacheError USAGE for a bad option, NOT_FOUND for an import that is not there, CORRUPT for a damaged one,
 *   BUSY when somebody else holds the lock of a folder, UNREACHABLE or DENIED for a registry; FAILED otherwise. An
 *   aborted call, this and every other, rejects with ABORTED and the signal's reason as its cause.
 */
export async function copyCache(options: CopyOptions): Promise<CopyResult> {
  checkCall('copyCache', { options });
  const exports = options.exports.map((text) => readExport(text, options.onNote));
  const imports = await Promise.all(options.imports.map((text) => readImport(text, options.onNote)));
  if (imports.length === 0) throw new CacheError('USAGE', 'there is nothing to import', { hint: 'use --import-cache' });
  if (exports.length === 0)
    throw new CacheError('USAGE', 'there is nowhere to export to', { hint: 'use --export-cache' });
  await refuseOverlaps(imports, exports);
  return abortable(options.signal, () =>
    withRegistries(options.registry, (registries) => copyAll(imports, exports, options, registries)),
  );
}

async function copyAll(
  imports: readonly CacheOptions[],
  exports: readonly CacheOptions[],
  options: CopyOptions,
  registries: Registries,
): Promise<CopyResult> {
  checkImports(imports, registries);
  checkExports(exports, registries);
  const sources = await Promise.all(imports.map((imported) => openSource(imported, registries, options.layout)));
  const held: HeldCache[] = [];
  try {
    for (const source of sources) held.push(await hold(source, options.signal));
    return await exportAll(
      held.map(({ cache }) => cache),
      exports,
      options,
      registries,
    );
  } finally {
    for (const { release } of held) await release();
  }
}

async function hold(source: CacheSource, signal: AbortSignal | undefined): Promise<HeldCache> {
  if (source.hold !== undefined) return source.hold(signal);
  return { cache: await source.load(signal), release: () => Promise.resolve() };
}

async function exportAll(
  caches: readonly Cache[],
  exports: readonly CacheOptions[],
  options: CopyOptions,
  registries: Registries,
): Promise<CopyResult> {
  const cache = await mergeCaches(caches, options.signal);
  // All are looked at before the first is written.
  const planned = exports.map((exported) => ({ exported, shape: exportShape(exported, cache.saved?.shape) }));
  const results: ExportResult[] = [];
  const ignored: { target: string; error: Error }[] = [];
  for (const { exported, shape } of planned) {
    try {
      results.push(await exportCache(cache, exported, shape, options, registries));
    } catch (error) {
      const isUsage = error instanceof CacheError && error.code === 'USAGE';
      if (isUsage || flag(exported, 'ignore-error') !== true || options.signal?.aborted === true) throw error;
      ignored.push({
        target: exported.attributes['dest'] ?? exported.attributes['ref'] ?? exported.type,
        error: error as Error,
      });
    }
  }
  return {
    imports: caches.map(({ name, graph }) => ({
      source: name,
      records: graph.records.length,
      layers: graph.layers.length,
    })),
    exports: results,
    ignored,
  };
}

/** Several caches as one. The same cache given twice counts once, and its blobs may come from either place. */
async function mergeCaches(caches: readonly Cache[], signal: AbortSignal | undefined): Promise<Cache> {
  const [only, ...others] = caches;
  if (only !== undefined && others.length === 0) return only;
  const unique = [
    ...new Map(
      caches.map((cache) => [(cache.saved && topOf(cache.saved.documents).descriptor.digest) ?? cache, cache]),
    ).values(),
  ];
  const places = (blob: BlobId) =>
    caches.filter(({ graph }) => graph.descriptors.has(blob.digest)).map((cache) => cache.blob(blob));
  return {
    ...(unique.length === 1 ? unique[0] : {}),
    name: [...new Set(caches.map(({ name }) => name))].join(' + '),
    concurrency: caches.reduce((most, { concurrency = 1 }) => Math.max(most, concurrency), 1),
    graph: merge(unique.length === 1 ? unique.map(({ graph }) => graph) : await agreedGraphs(unique, signal)),
    blob(blob) {
      const [first] = places(blob);
      if (first === undefined) throw new RangeError(`no import has ${blob.digest}`);
      return first;
    },
    elsewhere: (blob) => places(blob).slice(1),
  };
}

async function exportCache(
  cache: Cache,
  exported: CacheOptions,
  shape: Shape | undefined,
  options: CopyOptions,
  registries: Registries,
): Promise<ExportResult> {
  const start = performance.now();
  const conversion = conversionOf(exported);
  const settings = {
    sharing: options.hardlink === true ? 'hardlink' : 'copy',
    allowOversize: options.allowOversize ?? false,
    signal: options.signal,
    ...(options.layout === undefined ? {} : { layout: options.layout }),
  } as const;
  const target = await openTarget(exported, settings, registries);
  const brought = new Brought();
  try {
    const onProgress = brought.counting(options.onProgress);
    const result = await write(cache, exported, shape, conversion, target, { ...options, onProgress });
    return { ...result, duration: performance.now() - start };
  } catch (error) {
    brought.tell(target.name, options.onProgress);
    throw error;
  } finally {
    await target.close();
  }
}

async function write(
  cache: Cache,
  exported: CacheOptions,
  shape: Shape | undefined,
  conversion: Conversion | undefined,
  target: CacheTarget,
  options: CopyOptions,
): Promise<Omit<ExportResult, 'duration'>> {
  const fit = target.fit?.(cache.graph);
  const wanted = fit?.graph ?? (exported.attributes['mode'] === 'min' ? min(cache.graph) : cache.graph);
  const { signal, onNote } = options;
  const planned = fit
    ? []
    : await withPresent(await planBlobs({ ...cache, graph: wanted }, conversion, signal), target, signal);
  const absent = planned.filter(({ action }) => action === 'leave').length;
  if (absent > 0) onNote?.(foreignNote(absent));
  const publication = (graph: Graph): Publication => {
    const unchanged = graph === cache.graph && cache.saved?.shape === shape;
    return { graph, shape, saved: unchanged ? cache.saved : undefined, fields: cache.saved?.fields };
  };
  const converts = planned.some(({ action }) => action === 'convert');
  target.check?.(
    converts
      ? { graph: smallest(wanted, tarsOf(planned)), shape, saved: undefined }
      : publication(replaceBlobs(wanted, corrections(planned))),
  );
  const { replacements, ...transferred } = await transfer(cache, planned, target, { ...options, conversion });
  const graph = replaceBlobs(wanted, replacements);
  const written = publication(graph);
  const descriptor = await rewriting(async (lost) => {
    const again = planned.filter(({ blob }) => lost.has(replacements.get(blob.digest)?.digest ?? blob.digest));
    if (again.length > 0) await transfer(cache, again, target, { ...options, conversion, onProgress: undefined });
    return target.publish(written, options.signal);
  });
  if (shape === 'docker-list' && written.saved === undefined && hasZstd(graph)) {
    options.onNote?.(`${target.name} has ${DOCKER_ZSTD}`);
  }
  return {
    target: target.name,
    descriptor,
    mode: min(graph) === graph ? 'min' : 'max',
    shape,
    layers: graph.layers.length,
    records: graph.records.length,
    ...(fit ? { images: fit.images } : {}),
    ...transferred,
  };
}

function foreignNote(count: number): string {
  return count === 1
    ? 'a foreign layer is in none of the imports and stays out of the copy: a build that needs it fails'
    : `${count} foreign layers are in none of the imports and stay out of the copy: a build that needs one fails`;
}

/** Docker's media type for zstd came to BuildKit's importer late: util/compression, fromMediaType. */
const DOCKER_ZSTD =
  "zstd layers with Docker's media types, which BuildKit reads since 0.19: oci-mediatypes=true is for older ones";

function hasZstd({ descriptors }: Graph): boolean {
  const types = [...descriptors.values()].map(({ mediaType }) => mediaType);
  return types.some((mediaType) => layerEncoding(mediaType) === 'zstd' && !isNonDistributable(mediaType));
}

/** What an export string wants done to the layers; BuildKit's compression is gzip when only a level or force is named. */
function conversionOf(exported: CacheOptions): Conversion | undefined {
  const { compression = 'gzip', level, force } = compressionOf(exported);
  const named = exported.attributes['compression'] !== undefined || level !== undefined || force;
  if (!named) return undefined;
  return { encoding: { compression, ...(level === undefined ? {} : { level }) }, force };
}

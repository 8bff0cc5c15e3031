import type { Cache, ImageFit, Location } from '../../backend/backend.js';
import { locateAll, openSource, openTarget } from '../../backend/backends.js';
import { mergeCaches } from '../../backend/merge-caches.js';
import { readExport, readImport } from '../../backend/option-string.js';
import type { OnNote } from '../../buildkit/options.js';
import { checkCall } from '../../calls.js';
import { abortable, CacheError } from '../../errors.js';
import type { Shape } from '../../graph/save.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { Session, type SessionOptions } from '../../session.js';
import { refuseCollisions } from './collisions.js';
import { type TransferOptions, type ExportRequest, readRequest } from './export.js';
import { runExport } from './run-export.js';
import type { Transferred } from './transfer.js';
import { WrittenLayers } from './written-layers.js';

export interface CopyOptions extends SessionOptions, TransferOptions {
  /** Import strings, as `--import-cache` takes them. Several become one cache. */
  readonly imports: readonly string[];
  /** Export strings, as `--export-cache` takes them. */
  readonly exports: readonly string[];
  /** Share the files of layers that are copied unchanged between folders, instead of copying their bytes. */
  readonly hardlink?: boolean | undefined;
  /** Write a config or manifest over 1 MiB, which BuildKit will not import. */
  readonly allowOversize?: boolean | undefined;
  /** Is told of attributes without effect, of foreign layers that stay out, and of what only some BuildKits read. */
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
 *   BUSY when another process holds the lock of a folder, UNREACHABLE or DENIED for a registry; FAILED otherwise. An
 *   aborted call, this and every other, rejects with ABORTED and the signal's reason as its cause.
 */
export async function copyCache(options: CopyOptions): Promise<CopyResult> {
  checkCall('copyCache', { options });
  const exports = options.exports.map((text) => readExport(text, options.onNote));
  const imports = await Promise.all(options.imports.map((text) => readImport(text, options.onNote)));
  if (imports.length === 0) throw new CacheError('USAGE', 'there is nothing to import', { hint: 'use --import-cache' });
  if (exports.length === 0)
    throw new CacheError('USAGE', 'there is nowhere to export to', { hint: 'use --export-cache' });
  return abortable(options.signal, async () => {
    await using session = new Session(options);
    const from = await locateAll(imports, 'import', session);
    const to = await locateAll(exports, 'export', session);
    refuseCollisions(from, to);
    const caches = await openAll(from, session);
    const cache = await mergeCaches(caches, session.signal);
    return { imports: caches.map(summaryOf), ...(await exportAll(cache, to, options, session)) };
  });
}

/** Opens the imports. Their leases end with the session. */
async function openAll(imports: readonly Location[], session: Session): Promise<Cache[]> {
  const { signal } = session;
  const sources = await Promise.all(imports.map((at) => openSource(at, session)));
  const caches: Cache[] = [];
  for (const source of sources) caches.push(await (source.lease?.(signal) ?? source.load(signal)));
  return caches;
}

function summaryOf({ name, graph }: Cache): CopyResult['imports'][number] {
  return { source: name, records: graph.records.length, layers: graph.layers.length };
}

/** Exports a cache to each location, one after the other. */
async function exportAll(
  cache: Cache,
  exports: readonly Location[],
  options: CopyOptions,
  session: Session,
): Promise<Pick<CopyResult, 'exports' | 'ignored'>> {
  // All are read before the first is written.
  const requests = exports.map((at) => ({ at, request: readRequest(at.options, cache.saved?.shape) }));
  const results: ExportResult[] = [];
  const ignored: { target: string; error: Error }[] = [];
  for (const { at, request } of requests) {
    try {
      results.push(await exportOne(at, cache, request, options, session));
    } catch (error) {
      const isUsage = error instanceof CacheError && error.code === 'USAGE';
      if (isUsage || !request.ignoresErrors || options.signal?.aborted === true) throw error;
      ignored.push({ target: at.name, error: error as Error });
    }
  }
  return { exports: results, ignored };
}

async function exportOne(
  at: Location,
  cache: Cache,
  request: ExportRequest,
  options: CopyOptions,
  session: Session,
): Promise<ExportResult> {
  const start = performance.now();
  const { hardlink, allowOversize = false } = options;
  const sharing = hardlink === true ? 'hardlink' : 'copy';
  await using target = await openTarget(at, session, { sharing, allowOversize });
  const written = new WrittenLayers(options.onProgress);
  try {
    const result = await runExport({ cache, target, request, options: { ...options, onProgress: written.onProgress } });
    return { ...result, duration: performance.now() - start };
  } catch (error) {
    written.tell(target.name);
    throw error;
  }
}

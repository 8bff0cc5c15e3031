import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { locateAll } from '../../backend/backends.js';
import { exportToStream } from '../../backend/bundle/bundle-backend.js';
import { refusePlace, StreamOutput } from '../../backend/bundle/bundle-output.js';
import { BundleRepository, type BundleSettings } from '../../backend/bundle/bundle-repository.js';
import { SplitOutput } from '../../backend/bundle/split-output.js';
import type { RequiredBlob } from '../../backend/bundle/required.js';
import { realPath } from '../../backend/local/real-path.js';
import { readExport, readPlace } from '../../backend/option-string.js';
import { repositoryTarget } from '../../backend/repository/repository-target.js';
import type { CacheOptions } from '../../buildkit/options.js';
import { isOptionString } from '../../buildkit/values.js';
import { checkCall } from '../../calls.js';
import { abortable, CacheError } from '../../errors.js';
import { bytesOfFile } from '../../layout/files/small-file.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { Session, type SessionOptions } from '../../session.js';
import { type TransferOptions, readRequest } from '../copy/export.js';
import { runExport } from '../copy/run-export.js';
import { stageImage } from './copy-image.js';
import { decodeHaveList, type HaveList, hasLayer, inCommon } from './have-list.js';
import { type Traveller, travellersAt } from './travellers.js';

/** How the caches in a bundle are written, by the attributes of an export string. */
export interface PackEncoding {
  readonly mode?: 'min' | 'max' | undefined;
  readonly compression?: 'uncompressed' | 'gzip' | 'estargz' | 'zstd' | undefined;
  readonly compressionLevel?: number | undefined;
  /** Convert layers of another compression too. */
  readonly forceCompression?: boolean | undefined;
}

export interface PackOptions extends SessionOptions, TransferOptions, PackEncoding {
  /** Folders, of which all caches and images are packed, and import strings. */
  readonly imports: readonly string[];
  /** The path of the bundle, or what takes its bytes. */
  readonly output: string | Writable;
  /** Write a config or manifest over 1 MiB, which BuildKit will not import. */
  readonly allowOversize?: boolean | undefined;
  /** Files that `listLayers` made on the machines that will get the bundle: what all of them have stays out. */
  readonly have?: readonly string[] | undefined;
  /** Cuts the bundle into parts of this size, in bytes: `PATH.001` and so on, and `PATH.sha256` with their checksums. */
  readonly split?: number | undefined;
  /** Called with the bytes of the bundle that were written, and how many it will have. */
  readonly onWrite?: ((bytes: number, total: number) => void) | undefined;
}

/** A cache or an image in a bundle. */
export interface PackedEntry {
  readonly kind: 'cache' | 'image';
  readonly tag: string;
  readonly digest: Digest;
  readonly layers: number;
}

export interface PackResult {
  readonly entries: readonly PackedEntry[];
  /** Of the bundle, in bytes. */
  readonly size: number;
  /** The layers that were left out, since all receivers have them. */
  readonly required: readonly RequiredBlob[];
  /** In milliseconds. */
  readonly duration: number;
}

/**
 * Packs caches and images into a bundle. It is deterministic: the same caches and options are the same bytes.
 *
 * @throws CacheError USAGE for a bad option, and for two caches under one tag; NOT_FOUND, CORRUPT; FAILED for a disk that is
 *   full, or a reader that has gone
 */
export async function packCaches(options: PackOptions): Promise<PackResult> {
  checkCall('packCaches', { options });
  const start = performance.now();
  const places = await Promise.all(options.imports.map((text) => readPlace(text, options.onNote)));
  const exported = exportOf(options);
  return abortable(options.signal, async () => {
    const have = await readHave(options.have ?? []);
    await using session = new Session(options);
    const locations = await locateAll(places, 'import', session);
    const { output, split } = options;
    if (split !== undefined && typeof output !== 'string') {
      throw new CacheError('USAGE', 'a stream cannot be split', { hint: 'name a file for the parts, or use split(1)' });
    }
    const path = typeof output === 'string' ? await realPath(output) : undefined;
    if (path !== undefined) await refusePlace(path);
    const travellers: Traveller[] = [];
    for (const [index, at] of locations.entries()) {
      travellers.push(...(await travellersAt(at, isOptionString(options.imports[index] ?? ''), session)));
    }
    refuseTwice(travellers);
    let size = 0;
    await using bundle = new BundleRepository(
      typeof output === 'string' ? output : 'the bundle',
      path ?? join(tmpdir(), 'bundle'),
      undefined,
      {
        durable: session.layout.durable,
        isCollecting: true,
        receivers: have && { hasBlob: (blob) => hasLayer(have, blob) },
        output: outputOf(options, path, session.layout.durable),
        onBytes(bytes, total) {
          size = total;
          options.onWrite?.(bytes, total);
        },
      },
    );
    const entries: PackedEntry[] = [];
    for (const traveller of travellers) entries.push(await pack(traveller, bundle, { exported, have, options }));
    const required = await bundle.commit(session.signal);
    return { entries, size, required, duration: performance.now() - start };
  });
}

/** What takes the bundle, where that is not one file. */
function outputOf(
  { output, split }: PackOptions,
  path: string | undefined,
  durable: boolean,
): BundleSettings['output'] {
  if (typeof output !== 'string') return () => Promise.resolve(new StreamOutput(output));
  if (split === undefined || path === undefined) return undefined;
  return (folder, total) => Promise.resolve(new SplitOutput(path, folder, { size: split, total, durable }));
}

interface PackJob {
  readonly exported: CacheOptions;
  readonly have: HaveList | undefined;
  readonly options: PackOptions;
}

/** Puts one cache or image into a bundle that is written later. */
async function pack(traveller: Traveller, bundle: BundleRepository, job: PackJob): Promise<PackedEntry> {
  const { exported, have, options } = job;
  const { kind, tag } = traveller;
  if (kind === 'image') {
    const { descriptor, reader } = traveller;
    const { concurrency = availableParallelism(), signal, onProgress } = options;
    const copy = { from: reader, to: bundle, descriptor, concurrency, signal, onProgress };
    const { top, others, layers } = await stageImage(copy);
    for (const document of others) bundle.add(document, undefined);
    bundle.add({ ...top, descriptor }, tag);
    return { kind, tag, digest: descriptor.digest, layers };
  }
  const { cache } = traveller;
  const settings = { sharing: 'copy', allowOversize: options.allowOversize ?? false } as const;
  const target = {
    ...repositoryTarget(bundle, tag, settings),
    ...(have === undefined ? {} : { leaves: (blob: Descriptor) => hasLayer(have, blob) }),
  };
  const { descriptor, layers } = await runExport({
    cache,
    target,
    request: readRequest(exported, cache.saved?.shape),
    options,
  });
  return { kind, tag, digest: descriptor.digest, layers };
}

/** @throws CacheError USAGE for two caches of one tag: one would replace the other */
function refuseTwice(travellers: readonly Traveller[]): void {
  const tags = new Set<string>();
  for (const { tag } of travellers) {
    if (tags.has(tag)) {
      throw new CacheError(
        'USAGE',
        `two of the caches have the tag ${JSON.stringify(tag)}, and one would replace the other`,
        {
          hint: 'pack them one by one, or copy one of them to another tag first (bkcache copy … --export-cache …,tag=NAME)',
        },
      );
    }
    tags.add(tag);
  }
}

/** What all receivers have; undefined where no list is given. */
async function readHave(paths: readonly string[]): Promise<HaveList | undefined> {
  const lists: HaveList[] = [];
  for (const path of paths) {
    const bytes = await bytesOfFile(await realPath(path));
    if (bytes === undefined) {
      throw new CacheError('NOT_FOUND', `there is no file ${path}`, {
        hint: '"bkcache have -o FILE" makes it, on the machine that will get the bundle',
      });
    }
    lists.push(await decodeHaveList(bytes, path));
  }
  return lists.length === 0 ? undefined : inCommon(lists);
}

/** What the options of a pack are as those of an export. */
function exportOf({ mode, compression, compressionLevel, forceCompression }: PackEncoding) {
  const given = {
    mode,
    compression,
    'compression-level': compressionLevel,
    'force-compression': forceCompression,
  };
  return readExport(exportToStream(given));
}

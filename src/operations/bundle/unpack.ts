import { availableParallelism } from 'node:os';
import type { Cache, Location } from '../../backend/backend.js';
import { backends, locate, openTarget } from '../../backend/backends.js';
import { Bundle } from '../../backend/bundle/bundle.js';
import { filesOf } from '../../backend/bundle/parts.js';
import { StreamedBundle } from '../../backend/bundle/streamed-bundle.js';
import { treeOf } from '../../backend/bundle/tree.js';
import { untilAborted } from '../../bytes/until-aborted.js';
import { readExport } from '../../backend/option-string.js';
import { type CacheOptions, formatOptions } from '../../buildkit/options.js';
import { checkCall } from '../../calls.js';
import { abortable, CacheError } from '../../errors.js';
import { replaceBlobs } from '../../graph/replace.js';
import { UNCOMPRESSED } from '../../oci/descriptor.js';
import { saveGraph } from '../../graph/save.js';
import { namesOf } from '../../layout/index/index-json.js';
import { markStore } from '../../layout/index/last-used.js';
import { openLayout } from '../../layout/layout.js';
import { Session } from '../../session.js';
import type { CopyOptions } from '../copy/copy.js';
import { readRequest } from '../copy/export.js';
import { type RunResult, stageExport } from '../copy/run-export.js';
import { checkCacheName, storePath } from '../store.js';
import { stageImage } from './copy-image.js';
import { bundleInFiles, type OpenBundle, streamedBundle } from './open-bundle.js';
import { openReceiver, type Receiver, withBlobOf } from './receiver.js';
import { renamed, type Traveller, travellerOf } from './travellers.js';

export interface UnpackOptions extends Omit<CopyOptions, 'imports' | 'exports'> {
  /**
   * The file of a bundle, its parts in any order, or a stream of its bytes. From a stream, layers go to the one place as they
   * are.
   */
  readonly bundle: readonly string[] | AsyncIterable<Uint8Array>;
  /** The tag for the one cache in the bundle; those of the bundle when left out. */
  readonly into?: string | undefined;
  /** The store to unpack into, where no exports are named. */
  readonly store?: string | undefined;
  /** Export strings. A string without a tag takes all caches of the bundle, each under its own tag. */
  readonly exports?: readonly string[] | undefined;
}

/** A cache or an image that came out of a bundle. */
export type UnpackedEntry =
  | ({ readonly kind: 'cache'; readonly tag: string } & RunResult)
  | {
      readonly kind: 'image';
      readonly tag: string;
      readonly target: string;
      readonly descriptor: RunResult['descriptor'];
      readonly layers: number;
    };

export interface UnpackResult {
  readonly entries: readonly UnpackedEntry[];
  /** Layers that the receiver had in another compression, and that are used as they are there. */
  readonly reused: number;
  /** In milliseconds. */
  readonly duration: number;
}

/**
 * Unpacks the caches and images of a bundle into the store, or to where export strings lead. Nothing is published before all
 * layers are there; those that are written already stay after a failure, and are not written again.
 *
 * @throws CacheError USAGE, NOT_FOUND for layers that a thin bundle leaves out and the receiver does not have, CORRUPT that
 *   names the offset in the bundle, and else as `copyCache`
 */
export async function unpackCaches(options: UnpackOptions): Promise<UnpackResult> {
  checkCall('unpackCaches', { options });
  const start = performance.now();
  const { into, onNote } = options;
  if (options.store !== undefined && options.exports !== undefined) {
    throw new CacheError('USAGE', 'both a store and exports are named', {
      hint: 'leave the store out to unpack to another place',
    });
  }
  if (into !== undefined) checkCacheName(into);
  const store = options.exports === undefined ? storePath(options.store) : undefined;
  const texts = options.exports ?? (store === undefined ? [] : [exportTo(store)]);
  const exported = texts.map((text) => readExport(text, onNote));
  return abortable(options.signal, async () => {
    await using session = new Session(options);
    refuseForStream(options.bundle, exported);
    const bundle = await openBundle(options.bundle, session);
    const tags = tagsOf(bundle, into);
    const travellers: Traveller[] = [];
    for (const [index, descriptor] of bundle.index.manifests.entries()) {
      travellers.push(await travellerOf(bundle.reader, descriptor, tags[index] ?? '', session));
    }
    const entries: UnpackedEntry[] = [];
    let reused = 0;
    for (const place of exported) {
      const unpacked = await unpackTo(place, { bundle, travellers, isRenamed: into !== undefined, options, session });
      entries.push(...unpacked.entries);
      reused += unpacked.reused;
    }
    if (store !== undefined) {
      await using layout = await openLayout(store, session.layout);
      await markStore(layout);
    }
    return { entries, reused, duration: performance.now() - start };
  });
}

async function openBundle(input: UnpackOptions['bundle'], session: Session): Promise<OpenBundle> {
  if (!isPaths(input))
    return streamedBundle(await StreamedBundle.open(untilAborted(input, session.signal), 'the bundle'));
  const files = await filesOf(input);
  const bundle = await Bundle.open(files, files[0] ?? '', session.signal);
  session.defer(bundle);
  return bundleInFiles(bundle);
}

function isPaths(input: UnpackOptions['bundle']): input is readonly string[] {
  return Array.isArray(input);
}

/** What is read once goes to one place, and as it is. */
function refuseForStream(input: UnpackOptions['bundle'], exports: readonly CacheOptions[]): void {
  if (isPaths(input)) return;
  const converts = exports.some(({ attributes }) =>
    Object.keys(attributes).some((name) => name.includes('compression')),
  );
  if (exports.length === 1 && !converts) return;
  const what = converts ? 'its layers are not converted on the way' : 'it goes to one place';
  throw new CacheError('USAGE', `a bundle from a pipe is read once: ${what}`, {
    hint: 'write the bundle to a file, and unpack that file; or unpack it into a folder, and copy from there (bkcache copy)',
    side: 'export',
  });
}

/** The tags of the entries of a bundle. */
function tagsOf({ name, index }: OpenBundle, into: string | undefined): readonly string[] {
  const { manifests } = index;
  if (into !== undefined) {
    if (manifests.length === 1) return [into];
    const tags = manifests.map((entry) => namesOf(entry)[0] ?? entry.digest);
    throw new CacheError('USAGE', `--into names one cache, and ${name} has ${manifests.length}: ${tags.join(', ')}`, {
      hint: 'leave --into out to keep the tags; or take one: bkcache copy --import-cache type=bundle,src=FILE,tag=TAG …',
    });
  }
  const tags = manifests.map(
    (entry) => namesOf(entry)[0] ?? (manifests.length === 1 ? 'latest' : shortOf(entry.digest)),
  );
  for (const tag of tags) checkCacheName(tag);
  return tags;
}

function shortOf(digest: string): string {
  return digest.slice(digest.indexOf(':') + 1).slice(0, 12);
}

interface Unpacking {
  readonly bundle: OpenBundle;
  readonly travellers: readonly Traveller[];
  readonly isRenamed: boolean;
  readonly options: UnpackOptions;
  readonly session: Session;
}

/** Unpacks everything to one place: all layers first. */
async function unpackTo(
  place: CacheOptions,
  { bundle, travellers, isRenamed, options, session }: Unpacking,
): Promise<UnpackResult> {
  const settings = {
    sharing: options.hardlink === true ? 'hardlink' : 'copy',
    allowOversize: options.allowOversize ?? false,
  } as const;
  const locations = await locationsOf(place, travellers, session);
  const [first] = locations;
  if (first === undefined) return { entries: [], reused: 0, duration: 0 };
  await using receiver = await openReceiver(first, bundle, session, settings);
  await refuseLackOfImages(travellers, receiver, session);
  await bundle.deliver?.(receiver.layers, travellers, options);
  const staged: (() => Promise<UnpackedEntry>)[] = [];
  for (const [index, traveller] of travellers.entries()) {
    const told = bundle.deliver === undefined ? options : { ...options, onProgress: undefined };
    if (traveller.kind === 'image') {
      staged.push(await stageImageTo(receiver, traveller, isRenamed, told));
      continue;
    }
    const at = locations[index] ?? first;
    const target = await openTarget(at, session, settings);
    session.defer(target);
    const cache = fromBundle(traveller.cache, bundle, receiver);
    const request = readRequest(at.options, traveller.cache.saved?.shape);
    const layers = await stageExport({ cache, target, request, options: told });
    staged.push(async () => ({ kind: 'cache', tag: traveller.tag, ...(await layers.publish()) }));
  }
  const entries: UnpackedEntry[] = [];
  for (const publish of staged) entries.push(await publish());
  return { entries, reused: receiver.reused.size, duration: 0 };
}

/** Where each cache goes. */
async function locationsOf(
  place: CacheOptions,
  travellers: readonly Traveller[],
  session: Session,
): Promise<readonly Location[]> {
  const backend = backends.get(place.type);
  if (place.type === 'bundle') {
    throw new CacheError('USAGE', 'a bundle is not unpacked into a bundle', {
      hint: 'copy one cache of it: bkcache copy --import-cache type=bundle,src=FILE,tag=TAG --export-cache type=bundle,dest=FILE',
      side: 'export',
    });
  }
  const locations: Location[] = [];
  for (const { tag } of travellers) {
    const options = backend?.tagged?.(place, tag) ?? place;
    if (options === place && travellers.length > 1) {
      const tags = travellers.map((one) => one.tag).join(', ');
      throw new CacheError('USAGE', `the export names one cache, and the bundle has ${travellers.length}: ${tags}`, {
        hint: 'leave the tag out of the export, so that each cache keeps its own; or take one of them with "bkcache copy"',
        side: 'export',
      });
    }
    locations.push(await locate(options, 'export', session));
  }
  return locations;
}

/** A cache whose layers come from a bundle; those that the bundle leaves out are the receiver's. */
function fromBundle(cache: Cache, bundle: OpenBundle, receiver: Receiver): Cache {
  const layers = [...cache.graph.descriptors.values()];
  const replacements = new Map(
    layers.flatMap((layer) => {
      const found = receiver.reused.get(layer.digest);
      // The bundle's list of required blobs and its caches have to agree.
      const isSame = found?.annotations?.[UNCOMPRESSED] === layer.annotations?.[UNCOMPRESSED];
      return found === undefined || !isSame ? [] : [[layer.digest, withBlobOf(layer, found)] as const];
    }),
  );
  const graph = replaceBlobs(cache.graph, replacements);
  const { saved } = cache;
  const isSaved = replacements.size === 0 || saved?.shape === undefined;
  return {
    ...cache,
    graph,
    ...(isSaved ? {} : { saved: saveGraph(graph, saved.shape, saved.fields) }),
    blob: (blob) => bundle.content(blob) ?? receiver.blob(blob) ?? cache.blob(blob),
  };
}

/** An image cannot be changed, and so its layers have to be the very blobs. */
async function refuseLackOfImages(
  travellers: readonly Traveller[],
  { at, reused }: Receiver,
  { signal }: Session,
): Promise<void> {
  if (reused.size === 0) return;
  for (const traveller of travellers) {
    if (traveller.kind !== 'image') continue;
    const { layers } = await treeOf(traveller.reader, [traveller.descriptor], signal);
    const lacking = layers.filter(({ digest }) => reused.has(digest)).map(({ digest }) => digest);
    if (lacking.length > 0) {
      throw new CacheError(
        'NOT_FOUND',
        `${at.name} has layers of the image ${traveller.tag} in another compression only`,
        {
          hint: `run "bkcache have ${at.name} -o FILE" here, and have the bundle packed again with --have FILE`,
          side: 'export',
        },
      );
    }
  }
}

async function stageImageTo(
  { at, repository }: Receiver,
  { tag, descriptor, reader }: Extract<Traveller, { kind: 'image' }>,
  isRenamed: boolean,
  { concurrency = availableParallelism(), signal, onProgress }: UnpackOptions,
): Promise<() => Promise<UnpackedEntry>> {
  if (repository === undefined) {
    throw new CacheError('USAGE', `${tag} is an image, and type=${at.options.type} takes caches alone`, {
      hint: 'unpack it into a folder or a registry; or take one cache of the bundle with "bkcache copy"',
      side: 'export',
    });
  }
  const copy = { from: reader, to: repository, descriptor, concurrency, signal, onProgress };
  const { top, others, layers } = await stageImage(copy);
  const named = isRenamed ? renamed(descriptor, tag) : descriptor;
  return async () => {
    for (const document of others) await repository.publish(document, undefined, signal);
    await repository.publish({ ...top, descriptor: named }, tag, signal);
    return { kind: 'image', tag, target: repository.name, descriptor: top.descriptor, layers };
  };
}

function exportTo(store: string): string {
  return formatOptions({ type: 'local', attributes: { dest: store } });
}

import { encodeRecords } from '../buildkit/cache-config.js';
import { CacheError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import { fitOf, fitToImage, toInline } from '../graph/inline.js';
import { configOf } from '../graph/load.js';
import { merge } from '../graph/merge.js';
import { contentOf } from '../oci/content.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { INLINE_CACHE, REFERENCE_DIGEST } from '../oci/image.js';
import { editJson, type JsonEdit } from '../oci/json-edit.js';
import { type Document, documentOf } from '../oci/manifest.js';
import type { CacheTarget, ImageFit } from './backend.js';
import { type Image, type Images, imagesIn, notAnImage, readImage } from './image.js';
import { readManifest } from './manifest.js';
import type { Repository } from './repository.js';

/**
 * The config of an image that is there already. Its layers stay as they are, so that a cache is first cut down to what
 * consists of them; then the image gets a new config and a new manifest, platform by platform.
 *
 * @throws CacheError NOT_FOUND when there is no such image
 */
export async function inlineTarget(repository: Repository, tag: string, signal?: AbortSignal): Promise<CacheTarget> {
  const found = await repository.resolve({ tag }, signal);
  const where = `${repository.name}: ${tag}`;
  const manifest = await readManifest(repository, found, signal);
  if (configOf(manifest.content) !== undefined) {
    throw new CacheError('NOT_FOUND', `${where} is a build cache of its own and not an image`, {
      hint: 'type=inline puts a cache into an image; type=local and type=registry write caches of their own',
    });
  }
  const content = await readImage(repository, manifest, signal);
  if (content === undefined) throw notAnImage(where, 'export');
  return {
    name: repository.name,
    fit: (graph) => fit(graph, imagesIn(content), where),
    has: (blob, inner) => repository.has(blob, inner),
    write: (bytes, expected, inner) => repository.write(bytes, expected, inner),
    async publish({ graph }, inner) {
      const changed = await rewrite(repository, content, graph, inner);
      if (changed === undefined) return plain(manifest.descriptor);
      await refuseMoved(repository, tag, [found.digest, changed.descriptor.digest], inner);
      // What names the image where it is, such as the annotations of its entry in index.json, goes on to name it.
      const descriptor = { ...found, ...changed.descriptor, ...dataOf(found, changed) };
      await repository.publish({ ...changed, descriptor }, tag, inner);
      return changed.descriptor;
    },
    close: () => repository.close(),
  };
}

function fit(graph: Graph, images: readonly Image[], where: string): { graph: Graph; images: readonly ImageFit[] } {
  const fits = images.map((image): ImageFit => {
    const { platform } = image.content;
    const { fitting, others } = fitOf(graph, image.layers);
    return image.fault === undefined
      ? { platform, fitting, others }
      : { platform, fitting: [], others, fault: image.fault };
  });
  if (fits.every(({ fitting }) => fitting.length === 0)) throw nothingFits(where, fits);
  const parts = images.filter((image) => image.fault === undefined).map(({ layers }) => fitToImage(graph, layers));
  return { graph: merge(parts), images: fits };
}

function nothingFits(where: string, fits: readonly ImageFit[]): CacheError {
  const [only] = fits;
  if (only?.fault !== undefined && fits.length === 1) {
    return new CacheError('FAILED', `${where} cannot hold a cache: ${only.fault}, and BuildKit ignores such an image`, {
      hint: 'build the image anew',
      side: 'export',
    });
  }
  return new CacheError('FAILED', `nothing in the import consists of the layers of ${where}`, {
    hint: 'the cache has to come from the build that made this image; layers of compression=estargz differ from it too',
    side: 'export',
  });
}

/**
 * Writes what changes: configs first, then manifests, then the index of an index.
 *
 * @returns the outermost manifest, which is left to the caller to publish; undefined when it stays as it is
 */
async function rewrite(
  repository: Repository,
  content: Image | Images,
  graph: Graph,
  signal?: AbortSignal,
): Promise<Document | undefined> {
  return content.kind === 'image'
    ? rewriteImage(repository, content, graph, signal)
    : rewriteIndex(repository, content, graph, signal);
}

async function rewriteImage(
  repository: Repository,
  { manifest, config, layers, fault }: Image,
  graph: Graph,
  signal?: AbortSignal,
): Promise<Document | undefined> {
  const records = toInline(graph, layers);
  // An image that nothing fits keeps what it has.
  if (records.length === 0 || fault !== undefined) return undefined;
  const value = encodeRecords(records).toString('base64');
  const changed = documentOf(config.descriptor.mediaType, editJson(config.bytes, [{ path: [INLINE_CACHE], value }]));
  if (changed.descriptor.digest === config.descriptor.digest) return undefined;
  await repository.write(contentOf(changed.bytes), changed.descriptor, signal);
  const edits = renaming(['config'], config.descriptor, changed);
  return documentOf(manifest.descriptor.mediaType, editJson(manifest.bytes, edits));
}

async function rewriteIndex(
  repository: Repository,
  { manifest, listed, entries }: Images,
  graph: Graph,
  signal?: AbortSignal,
): Promise<Document | undefined> {
  const edits: JsonEdit[] = [];
  const renamed = new Map<string, Digest>();
  for (const { position, content } of entries) {
    const old = listed[position];
    const changed = old && (await rewrite(repository, content, graph, signal));
    if (changed === undefined || old === undefined) continue;
    await repository.publish(changed, undefined, signal);
    edits.push(...renaming(['manifests', position], old, changed));
    renamed.set(old.digest, changed.descriptor.digest);
  }
  // An attestation stays the document that it is; its entry has to find the image that it is about.
  for (const [position, { annotations }] of listed.entries()) {
    const value = renamed.get(annotations?.[REFERENCE_DIGEST] ?? '');
    if (value !== undefined) edits.push({ path: ['manifests', position, 'annotations', REFERENCE_DIGEST], value });
  }
  return edits.length === 0 ? undefined : documentOf(manifest.descriptor.mediaType, editJson(manifest.bytes, edits));
}

/** Makes a descriptor inside a manifest name another document. */
function renaming(path: JsonEdit['path'], old: Descriptor, changed: Document): JsonEdit[] {
  const { digest, size } = changed.descriptor;
  const fields = Object.entries({ digest, size, ...dataOf(old, changed) });
  return fields.map(([name, value]) => ({ path: [...path, name], value }));
}

/** A descriptor that carries its document whole carries the new one. */
function dataOf(old: Descriptor, { bytes }: Document): { readonly data?: string } {
  return old['data'] === undefined ? {} : { data: Buffer.from(bytes).toString('base64') };
}

/** A tag that another build has moved in the meantime is that build's. */
async function refuseMoved(
  repository: Repository,
  tag: string,
  known: readonly Digest[],
  signal?: AbortSignal,
): Promise<void> {
  const now = await repository.resolve({ tag }, signal);
  if (known.includes(now.digest)) return;
  throw new CacheError('BUSY', `${repository.name}: ${tag} is another image than it was when this copy began`, {
    hint: 'somebody pushed it in the meantime; run the copy again',
    side: 'export',
  });
}

function plain({ mediaType, digest, size }: Descriptor): Descriptor {
  return { mediaType, digest, size };
}

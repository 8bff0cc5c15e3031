import { realpath } from 'node:fs/promises';
import { dirname, join, resolve as resolvePath, sep } from 'node:path';
import { checkImportLimit } from '../buildkit/import-limit.js';
import { type CacheOptions, flag } from '../buildkit/options.js';
import { CacheError, isSystemError } from '../errors.js';
import { configOf, loadGraph } from '../graph/load.js';
import { type SavedCache, type Shape, shapeOf } from '../graph/save.js';
import type { Sharing } from '../layout/share.js';
import { findTag, readIndex, tagOf, updateIndex, withTag } from '../layout/index-file.js';
import { createLayout, type Layout, openLayout } from '../layout/layout.js';
import { contentOf, readWhole } from '../oci/content.js';
import type { Descriptor } from '../oci/descriptor.js';
import { parseDigest } from '../oci/digest.js';
import { JSON_LIMIT } from '../oci/json.js';
import { decodeManifest } from '../oci/manifest.js';
import type { Cache, CacheSource, CacheTarget } from './backend.js';

/** BuildKit's default tag: client/solve.go. */
const LATEST = 'latest';

/** A cache in a folder: `type=local,src=…[,digest=…][,tag=…]`. */
export function localSource({ attributes }: CacheOptions): CacheSource {
  const root = attributes['src'] ?? '';
  const { digest, tag = LATEST } = attributes;
  const source = {
    name: root,
    async resolve(signal?: AbortSignal) {
      const layout = await openLayout(root);
      return digest === undefined ? resolveTag(root, tag, signal) : resolveDigest(layout, digest, signal);
    },
    async load(signal?: AbortSignal): Promise<Cache> {
      const descriptor = await source.resolve(signal);
      const layout = await openLayout(root);
      const saved = await readSaved(layout, descriptor, signal);
      const manifest = decodeManifest(saved.manifest.bytes, blobName(layout, descriptor));
      return {
        name: root,
        graph: loadGraph(manifest, saved.config.bytes, blobName(layout, saved.config.descriptor)),
        saved,
        blob: (blob) => layout.blobs.content(blob.digest),
      };
    },
  };
  return source;
}

async function resolveTag(root: string, tag: string, signal?: AbortSignal): Promise<Descriptor> {
  const index = await readIndex(root, signal);
  const found = findTag(index, tag);
  if (found !== undefined) return found;
  const tags = index.manifests.map(tagOf).filter((name) => name !== undefined);
  throw new CacheError('NOT_FOUND', `${root} has no tag ${JSON.stringify(tag)}`, {
    hint: tags.length === 0 ? 'it has no tags at all' : `its tags are: ${tags.join(', ')}`,
  });
}

/** An explicit digest only has to be among the blobs; where index.json lists it, its descriptor says more. */
async function resolveDigest(layout: Layout, text: string, signal?: AbortSignal): Promise<Descriptor> {
  const digest = parseDigest(text, 'digest=');
  const size = await layout.blobs.size(digest);
  if (size === undefined) {
    const index = await readIndex(layout.root, signal);
    const known = index.manifests.map((entry) => `${entry.digest} (${tagOf(entry) ?? 'no tag'})`);
    throw new CacheError('NOT_FOUND', `${layout.root} has no blob ${digest}`, {
      hint: known.length === 0 ? 'its index.json lists nothing' : `its index.json lists: ${known.join(', ')}`,
    });
  }
  const content = layout.blobs.content(digest);
  const bytes = await readWhole(content, { digest, size }, layout.root, { limit: JSON_LIMIT, signal });
  return { mediaType: decodeManifest(bytes, `${layout.root}: ${digest}`).mediaType, digest, size };
}

async function readSaved(layout: Layout, descriptor: Descriptor, signal?: AbortSignal): Promise<SavedCache> {
  const manifestBytes = await readBlob(layout, descriptor, signal);
  const manifest = decodeManifest(manifestBytes, blobName(layout, descriptor));
  const config = configOf(manifest);
  if (config === undefined) {
    throw new CacheError('NOT_FOUND', `${blobName(layout, descriptor)} is not a build cache but an image or artifact`, {
      hint: 'caches inside images (type=inline) cannot be read by this version',
    });
  }
  return {
    shape: shapeOf(manifest.mediaType),
    manifest: {
      descriptor: { mediaType: manifest.mediaType, digest: descriptor.digest, size: descriptor.size },
      bytes: manifestBytes,
    },
    config: { descriptor: config, bytes: await readBlob(layout, config, signal) },
  };
}

async function readBlob(layout: Layout, blob: Descriptor, signal?: AbortSignal): Promise<Buffer> {
  return readWhole(layout.blobs.content(blob.digest), blob, layout.root, { limit: JSON_LIMIT, signal });
}

function blobName(layout: Layout, { digest }: Descriptor): string {
  return layout.blobs.path(digest);
}

export interface LocalTargetOptions {
  readonly sharing: Sharing;
  /** Write documents that BuildKit is known not to import. */
  readonly allowOversize: boolean;
}

/** A folder to export to: `type=local,dest=…[,tag=…]`. */
export async function localTarget(
  options: CacheOptions,
  { sharing, allowOversize }: LocalTargetOptions,
): Promise<CacheTarget> {
  const root = options.attributes['dest'] ?? '';
  const tag = options.attributes['tag'] ?? LATEST;
  if (flag(options, 'reset') === true) {
    throw new CacheError(
      'USAGE',
      'reset=true deletes blobs that other builds may be writing; this version refuses it',
      {
        hint: 'export to a new folder, and move that into the place of the old one',
        side: 'export',
      },
    );
  }
  const layout = await createLayout(root);
  const write: CacheTarget['write'] = (content, expected, signal) =>
    layout.blobs.write(content, expected, { where: content.path ?? root, sharing, ...(signal ? { signal } : {}) });
  return {
    name: root,
    shape: askedShape(options),
    has: (blob) => layout.blobs.has(blob),
    write,
    async publish({ config, manifest }, signal) {
      if (!allowOversize) {
        checkImportLimit('config', config.bytes.length);
        checkImportLimit('manifest', manifest.bytes.length);
      }
      for (const { descriptor, bytes } of [config, manifest]) {
        if (!(await layout.blobs.has(descriptor))) await write(contentOf(bytes), descriptor, signal);
      }
      await updateIndex(root, (index) => withTag(index, tag, manifest.descriptor), signal);
      return manifest.descriptor;
    },
    close: () => layout.blobs.close(),
  };
}

/** The shape that image-manifest= and oci-mediatypes= name together (cache/remotecache/local/local.go). */
export function askedShape(options: CacheOptions): Shape | undefined {
  const imageManifest = flag(options, 'image-manifest');
  const oci = flag(options, 'oci-mediatypes');
  if (imageManifest === undefined && oci === undefined) return undefined;
  if (oci === false) return 'docker-list';
  return (imageManifest ?? true) ? 'image-manifest' : 'index';
}

/**
 * Refuses exports that would write into what they read.
 *
 * @throws CacheError USAGE
 */
export async function refuseOverlap(imports: readonly CacheOptions[], exported: CacheOptions): Promise<void> {
  const destination = await realPath(exported.attributes['dest'] ?? '');
  for (const imported of imports) {
    const source = await realPath(imported.attributes['src'] ?? '');
    const sameTag = (imported.attributes['tag'] ?? LATEST) === (exported.attributes['tag'] ?? LATEST);
    if (destination === source && sameTag && imported.attributes['digest'] === undefined) {
      throw new CacheError('USAGE', `the export would replace its own import, ${source}`, {
        hint: 'export to another tag (tag=…) or another folder (dest=…)',
        side: 'export',
      });
    }
    if (destination.startsWith(source + sep)) {
      throw new CacheError('USAGE', `the export folder ${destination} is inside the import ${source}`, {
        hint: 'export to a folder outside of it',
        side: 'export',
      });
    }
  }
}

/** The real path of a folder, of which the last parts need not exist yet. */
async function realPath(path: string): Promise<string> {
  const absolute = resolvePath(path);
  try {
    return await realpath(absolute);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT', 'ENOTDIR') || dirname(absolute) === absolute) throw error;
    return join(await realPath(dirname(absolute)), absolute.slice(dirname(absolute).length).replace(/^[/\\]/, ''));
  }
}

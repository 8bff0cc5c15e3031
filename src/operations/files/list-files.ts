import { checkCall } from '../../calls.js';
import { type LayerFile, layerFiles } from '../../codec/layer-files.js';
import { CacheError } from '../../errors.js';
import { DESCRIPTION, type Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { Session, type SessionOptions } from '../../session.js';
import { layerBlob, layersToRead, openCache } from './cache-layers.js';
import { globTest } from '../glob.js';

/** Which files of a cache to list; all options together narrow the list. */
export interface FilesOptions extends SessionOptions {
  /** Digests of layers, or 12 or more characters of their start; all layers when left out. */
  readonly layers?: readonly string[] | undefined;
  /** Files and folders, with all that is in a folder. */
  readonly paths?: readonly string[] | undefined;
  /** A pattern such as `*.so` for names, or `usr/lib/*.so` for paths; `*` crosses a slash. */
  readonly find?: string | undefined;
}

/** The files of one layer of a cache. */
export interface FilesOfLayer {
  readonly digest: Digest;
  /** Of the blob, in bytes. */
  readonly size: number;
  readonly mediaType: string;
  /** The step that made the layer, where a descriptor says so. */
  readonly description: string | undefined;
  /** To be read before the next layer is taken. */
  readonly files: AsyncIterable<LayerFile>;
}

/**
 * Lists what each layer of a cache adds and deletes, layer by layer. A layer that is compressed as eStargz is listed from its
 * table of contents, without its data; the others are read to their ends, and checked. Nothing is held or unpacked to disk.
 *
 * @throws CacheError USAGE, NOT_FOUND, CORRUPT
 */
export async function* listFiles(
  text: string,
  options: FilesOptions = {},
): AsyncGenerator<FilesOfLayer, void, undefined> {
  checkCall('listFiles', { text, options });
  const { layers, paths = [], find, signal } = options;
  const isWanted = wanted(paths, find);
  await using session = new Session(options);
  const cache = await openCache(text, session);
  for (const descriptor of layersToRead(cache, layers)) {
    signal?.throwIfAborted();
    const files = layerFiles(layerBlob(cache, descriptor), signal);
    yield { ...about(descriptor), files: filtered(files, isWanted) };
  }
}

function about({ digest, size, mediaType, annotations }: Descriptor): Omit<FilesOfLayer, 'files'> {
  return { digest, size, mediaType, description: annotations?.[DESCRIPTION] };
}

async function* filtered(
  files: AsyncIterable<LayerFile>,
  isWanted: (path: string) => boolean,
): AsyncGenerator<LayerFile, void, undefined> {
  for await (const file of files) if (isWanted(file.path)) yield file;
}

/** @throws CacheError USAGE for a pattern that is none, and for a path that is empty */
function wanted(paths: readonly string[], find: string | undefined): (path: string) => boolean {
  const places = paths.map((path) => {
    const clean = cleanPath(path);
    if (clean !== '') return clean;
    throw new CacheError('USAGE', `"${path}" is no path in a layer`, { hint: 'leave the path out for all files' });
  });
  const matches = find === undefined ? undefined : globTest(find.replace(/^\//, ''), '--find');
  const isPath = find?.includes('/') === true;
  return (path) => {
    const isPlace = places.length === 0 || places.some((place) => path === place || path.startsWith(`${place}/`));
    return isPlace && (matches === undefined || matches(isPath ? path : path.slice(path.lastIndexOf('/') + 1)));
  };
}

/** A path as it is in a layer: without slashes or dots around it. */
export function cleanPath(path: string): string {
  return path.replace(/^(?:\.?\/)+|\/+$/g, '');
}

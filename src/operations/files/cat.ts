import type { Cache } from '../../backend/backend.js';
import { checkCall } from '../../calls.js';
import { type LayerFile, openLayerFiles } from '../../codec/layer-files.js';
import { CacheError } from '../../errors.js';
import { blobsOf } from '../../graph/graph.js';
import { verified } from '../../oci/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { splitDigest } from '../../oci/digest.js';
import { Session, type SessionOptions } from '../../session.js';
import { findDigest, layerBlob, layersToRead, openCache } from './cache-layers.js';
import { cleanPath } from './list-files.js';

export interface CatOptions extends SessionOptions {
  /** For a path: the layer to take the file from, by its digest or 12 and more characters of its start. */
  readonly layer?: string | undefined;
}

/**
 * The bytes of a manifest, a config or a layer of a cache, as they are stored, by digest; or of one file in a layer, by
 * path. A digest may be given by 12 and more characters of its start. Bytes are passed on before their digest is known: the
 * end of the stream says whether they were right.
 *
 * @throws CacheError USAGE for a path that several layers have; NOT_FOUND; CORRUPT
 */
export async function* catCache(
  text: string,
  what: string,
  options: CatOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  checkCall('catCache', { text, what, options });
  const { layer, signal } = options;
  await using session = new Session(options);
  const cache = await openCache(text, session);
  const documents = cache.saved?.documents ?? [];
  const layers = blobsOf(cache.graph);
  const digest = findDigest(
    what,
    [...documents.map(({ descriptor }) => descriptor), ...layers].map((one) => one.digest),
  );
  if (digest === undefined) {
    yield* fileBytes(cache, what, layersToRead(cache, layer === undefined ? [] : [layer]), signal);
    return;
  }
  const document = documents.find(({ descriptor }) => descriptor.digest === digest);
  if (document !== undefined) yield document.bytes;
  const blob = layers.find((one) => one.digest === digest);
  if (blob !== undefined) yield* verified(cache.blob(blob).open({}, signal), blob, cache.name);
}

/** The data of the one file at a path. */
async function* fileBytes(
  cache: Cache,
  path: string,
  layers: readonly Descriptor[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const clean = cleanPath(path);
  const [only] = layers.length === 1 ? layers : await layersWith(cache, clean, layers, signal);
  if (only === undefined) throw notFound(cache, path);
  let found: LayerFile | undefined;
  for await (const { file, data } of openLayerFiles(layerBlob(cache, only), signal)) {
    if (file.path !== clean) continue;
    found = file;
    if (file.type !== 'file') throw noFile(path, file);
    yield* data;
    break;
  }
  if (found === undefined) throw notFound(cache, path);
}

/**
 * The layer that has a file. Files of one path in several layers are different files.
 *
 * @throws CacheError USAGE where there are several
 */
async function layersWith(
  cache: Cache,
  path: string,
  layers: readonly Descriptor[],
  signal: AbortSignal | undefined,
): Promise<readonly Descriptor[]> {
  const { layerFiles } = await import('../../codec/layer-files.js');
  const found: Descriptor[] = [];
  for (const layer of layers) {
    for await (const file of layerFiles(layerBlob(cache, layer), signal)) {
      if (file.path !== path || file.type === 'deleted' || file.type === 'opaque') continue;
      found.push(layer);
      break;
    }
  }
  if (found.length <= 1) return found;
  const names = found.map(({ digest }) => splitDigest(digest)[1].slice(0, 12)).join(', ');
  throw new CacheError('USAGE', `${found.length} layers have ${path}: ${names}`, { hint: 'choose one with --layer' });
}

function notFound(cache: Cache, path: string): CacheError {
  return new CacheError('NOT_FOUND', `${cache.name} has no blob and no file ${path}`, {
    hint: '"bkcache files" lists the files of its layers, "bkcache inspect" its layers',
    side: 'import',
  });
}

function noFile(path: string, { type, link }: LayerFile): CacheError {
  const leads = link === undefined ? '' : ` to ${link}`;
  return new CacheError('USAGE', `${path} is no file: it is a ${type}${leads}`, {
    hint: link === undefined ? 'name a file' : 'name its target',
  });
}

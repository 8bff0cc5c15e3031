import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { extract } from 'tar-stream';
import { digestOfBytes, unpack } from '../../test/support/layers.js';

/** An image that BuildKit wrote says of a layer what is not so. */
export class ImageError extends Error {
  override readonly name = 'ImageError';
}

/** A layer of an image that BuildKit wrote. */
export interface ImageLayer {
  readonly diffID: string;
  readonly tar: Buffer;
}

interface Reference {
  readonly mediaType: string;
  readonly digest: string;
}

interface Manifest {
  readonly config: Reference;
  readonly layers: readonly Reference[];
}

interface Index {
  readonly manifests: readonly Reference[];
}

/**
 * Reads an image out of the OCI layout that a build wrote, with other means than bkcache's own. The images of several
 * platforms follow one another.
 *
 * @throws ImageError when a layer does not unpack to the diffID that the image's config has for it
 */
export async function readImage(folder: string): Promise<ImageLayer[]> {
  const index = JSON.parse(await readFile(join(folder, 'index.json'), 'utf8')) as Index;
  const layers: ImageLayer[] = [];
  for (const entry of index.manifests) layers.push(...(await imagesBelow(folder, entry)));
  return layers;
}

async function imagesBelow(folder: string, entry: Reference): Promise<ImageLayer[]> {
  const document = JSON.parse(String(await blob(folder, entry))) as Manifest | Index;
  if (!('manifests' in document)) return layersOf(folder, document);
  const layers: ImageLayer[] = [];
  for (const below of document.manifests) layers.push(...(await imagesBelow(folder, below)));
  return layers;
}

async function layersOf(folder: string, manifest: Manifest): Promise<ImageLayer[]> {
  const config = JSON.parse(String(await blob(folder, manifest.config))) as { rootfs: { diff_ids: string[] } };
  const diffIDs = config.rootfs.diff_ids;
  if (manifest.layers.length !== diffIDs.length || diffIDs.length === 0) {
    throw new Error(`the image has ${manifest.layers.length} layers and ${diffIDs.length} diffIDs`);
  }
  const layers: ImageLayer[] = [];
  for (const [index, diffID] of diffIDs.entries()) {
    const layer = manifest.layers[index] as Reference;
    const tar = unpack(await blob(folder, layer), layer.mediaType);
    if (digestOfBytes(tar) !== diffID) {
      throw new ImageError(`layer ${index} of the image unpacks to ${digestOfBytes(tar)}, not ${diffID}`);
    }
    layers.push({ diffID, tar });
  }
  return layers;
}

function blob(folder: string, { digest }: Reference): Promise<Buffer> {
  return readFile(join(folder, 'blobs', digest.replace(':', '/')));
}

/** What an image has to have in common with the first one. */
export type Likeness =
  /** The same diffIDs. */
  | 'diffIDs'
  /** The same tars, each with estargz' table of contents behind it, which has a part in the diffID. */
  | 'estargz'
  /**
   * The same files in the same layers, and each layer is, times and all, one that a build without a cache made: where a
   * step ran twice, either result will do.
   */
  | 'files';

/**
 * How an image differs from the first one: one sentence for each layer.
 *
 * @param made - the diffIDs that builds without a cache came to
 */
export async function imageDifferences(
  first: readonly ImageLayer[],
  again: readonly ImageLayer[],
  like: Likeness,
  made: ReadonlySet<string>,
): Promise<string[]> {
  if (first.length !== again.length) return [`the image has ${again.length} layers instead of ${first.length}`];
  const differences: string[] = [];
  for (const [index, layer] of first.entries()) {
    const other = again[index] as ImageLayer;
    const which = `layer ${index} of the image, ${other.diffID},`;
    if (!(await isLike(layer, other, like))) {
      differences.push(`${which} is not like the first one, ${layer.diffID}`);
    } else if (like === 'files' && !made.has(other.diffID)) {
      differences.push(`${which} has the files of the first one, but no build without a cache made it`);
    }
  }
  return differences;
}

async function isLike(first: ImageLayer, again: ImageLayer, like: Likeness): Promise<boolean> {
  if (first.diffID === again.diffID) return true;
  if (like === 'diffIDs') return false;
  if (like === 'estargz') return again.tar.subarray(0, first.tar.length).equals(first.tar);
  return JSON.stringify(await filesOf(first.tar)) === JSON.stringify(await filesOf(again.tar));
}

/** All that a tar says of its files, but for their times. */
async function filesOf(tar: Buffer): Promise<object[]> {
  const files: object[] = [];
  for await (const entry of Readable.from([tar]).pipe(extract())) {
    const { name, type, mode, uid, gid, size, linkname, devmajor, devminor } = entry.header;
    const content = createHash('sha256');
    for await (const chunk of entry) content.update(chunk as Uint8Array);
    files.push({ name, type, mode, uid, gid, size, linkname, devmajor, devminor, content: content.digest('hex') });
  }
  return files;
}

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { decompress } from 'zstd-napi';

/** A layer of an image that BuildKit wrote. */
export interface ImageLayer {
  readonly diffID: string;
  readonly tar: Buffer;
}

interface Reference {
  readonly mediaType: string;
  readonly digest: string;
}

/**
 * Reads an image out of the OCI layout that a build wrote, with other means than bkcache's own.
 *
 * @throws Error when a layer does not unpack to the diffID that the image's config has for it
 */
export async function readImage(folder: string): Promise<ImageLayer[]> {
  const blob = ({ digest }: Reference) => readFile(join(folder, 'blobs', digest.replace(':', '/')));
  const index = JSON.parse(await readFile(join(folder, 'index.json'), 'utf8')) as { manifests: [Reference] };
  const manifest = JSON.parse(String(await blob(index.manifests[0]))) as { config: Reference; layers: Reference[] };
  const config = JSON.parse(String(await blob(manifest.config))) as { rootfs: { diff_ids: string[] } };
  const diffIDs = config.rootfs.diff_ids;
  if (manifest.layers.length !== diffIDs.length || diffIDs.length === 0) {
    throw new Error(`the image has ${manifest.layers.length} layers and ${diffIDs.length} diffIDs`);
  }
  const layers: ImageLayer[] = [];
  for (const [index, diffID] of diffIDs.entries()) {
    const layer = manifest.layers[index] as Reference;
    const tar = unpack(await blob(layer), layer.mediaType);
    if (sha256(tar) !== diffID) throw new Error(`layer ${index} of the image unpacks to ${sha256(tar)}, not ${diffID}`);
    layers.push({ diffID, tar });
  }
  return layers;
}

function unpack(bytes: Buffer, mediaType: string): Buffer {
  if (mediaType.endsWith('gzip')) return gunzipSync(bytes);
  return mediaType.endsWith('zstd') ? decompress(bytes) : bytes;
}

function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** What an image has to have in common with the first one. */
export type Likeness =
  /** The same diffIDs. */
  | 'diffIDs'
  /** The same tars, each with estargz' table of contents behind it, which has a part in the diffID. */
  | 'estargz';

/** How an image differs from the first one: one sentence for each layer. */
export function imageDifferences(first: readonly ImageLayer[], again: readonly ImageLayer[], like: Likeness): string[] {
  if (first.length !== again.length) return [`the image has ${again.length} layers instead of ${first.length}`];
  return first.flatMap((layer, index) => {
    const other = again[index] as ImageLayer;
    const same =
      like === 'diffIDs'
        ? layer.diffID === other.diffID
        : other.diffID !== layer.diffID && other.tar.subarray(0, layer.tar.length).equals(layer.tar);
    return same ? [] : [`layer ${index} of the image has diffID ${other.diffID} instead of ${layer.diffID}`];
  });
}

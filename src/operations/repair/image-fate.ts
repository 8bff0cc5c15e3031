import { type Image, type ImageReader, readImages } from '../../backend/inline/image.js';
import { historyEdits } from '../../backend/inline/inline-history.js';
import { type ImageChange, rewriteImages } from '../../backend/inline/inline-rewrite.js';
import type { StoredManifest } from '../../backend/repository/manifest.js';
import { CacheError, type Wrong } from '../../errors.js';
import { corrected, faultsOf, type Proof } from '../../graph/statement.js';
import type { Content } from '../../oci/content.js';
import { type BlobId, UNCOMPRESSED } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { JsonEdit } from '../../oci/json-edit.js';
import type { OrderedDocuments } from '../../oci/document.js';
import { decodeManifest } from '../../oci/manifest.js';
import { contentsOf } from '../../oci/successors.js';
import type { Documents } from './documents.js';

/** An image whose documents are corrected. */
export interface MendedImage {
  readonly documents: OrderedDocuments;
  readonly wrong: readonly Wrong[];
}

/**
 * Corrects an image with a cache where BuildKit would fail on it: a history that is too short, and wrong statements about
 * layers.
 *
 * @returns undefined where there is nothing to do, or the image is not there as a whole
 */
export async function mendImage(
  documents: Documents,
  manifest: StoredManifest,
  proofs: ReadonlyMap<Digest, Proof>,
  signal: AbortSignal | undefined,
): Promise<MendedImage | undefined> {
  const wrong = new Set<Wrong>();
  try {
    const tree = await readImages(readerOf(documents), manifest, signal);
    const changed = tree && rewriteImages(tree, (image) => changeOf(image, proofs, wrong));
    return changed && { documents: changed, wrong: [...wrong].toSorted() };
  } catch (error) {
    if (error instanceof CacheError && (error.code === 'CORRUPT' || error.code === 'FAILED')) return undefined;
    throw error;
  }
}

function changeOf(image: Image, proofs: ReadonlyMap<Digest, Proof>, wrong: Set<Wrong>): ImageChange | undefined {
  if (image.content.cache === undefined || image.fault !== undefined) return undefined;
  const config = historyEdits(image);
  if (config.length > 0) wrong.add('history');
  const manifest: JsonEdit[] = [];
  const contents = contentsOf(decodeManifest(image.manifest.bytes, image.manifest.descriptor.digest));
  const listed = contents.kind === 'image' ? contents.layers : [];
  for (const [place, described] of image.layers.entries()) {
    const raw = listed[place];
    if (raw === undefined) continue;
    const layer = { ...raw, annotations: described.annotations ?? {} };
    const proof = proofs.get(layer.digest);
    const right = corrected(layer, proof);
    if (right === layer) continue;
    for (const fault of faultsOf(layer, proof)) wrong.add(fault.wrong);
    for (const field of ['size', 'mediaType'] as const) {
      if (right[field] !== layer[field]) manifest.push({ path: ['layers', place, field], value: right[field] });
    }
    const diffID = right.annotations?.[UNCOMPRESSED];
    if (diffID !== layer.annotations[UNCOMPRESSED]) {
      config.push({ path: ['rootfs', 'diff_ids', place], value: diffID });
    }
  }
  return { config, manifest };
}

/** The documents with those that were fetched. */
function readerOf(documents: Documents): ImageReader {
  const content = (document: BlobId): Content => ({
    async *open() {
      yield await documents.read(document);
    },
  });
  return { name: documents.name, manifest: content, blob: content };
}

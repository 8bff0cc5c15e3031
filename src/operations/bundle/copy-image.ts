import { treeOf } from '../../backend/bundle/tree.js';
import type { Repository, RepositoryReader } from '../../backend/repository/repository.js';
import { parallel } from '../../bytes/parallel.js';
import { CacheError } from '../../errors.js';
import { contentOf } from '../../oci/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Document } from '../../oci/document.js';
import { isNonDistributable } from '../../oci/media-types.js';
import type { OnProgress } from '../copy/progress.js';
import { meterOf } from '../copy/progress.js';

export interface ImageCopy {
  readonly from: RepositoryReader;
  readonly to: Repository;
  readonly descriptor: Descriptor;
  readonly concurrency: number;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: OnProgress;
}

/** An image whose blobs are at the target. */
export interface StagedImage {
  /** What is published last, and named: the manifest, or the index of several. */
  readonly top: Document;
  /** The manifests that an index names, in the order of writing. */
  readonly others: readonly Document[];
  /** How many layers it has. */
  readonly layers: number;
}

/**
 * Copies the blobs of an image as they are, for all its platforms.
 *
 * @throws CacheError CORRUPT for a blob that is missing or damaged
 */
export async function stageImage(copy: ImageCopy): Promise<StagedImage> {
  const { from, to, descriptor, signal, onProgress } = copy;
  const { documents, layers, images } = await treeOf(from, [descriptor], signal);
  // Only their digests count here: layers of images are never replaced by others.
  const blobs = layers.map(({ digest, size, mediaType }) => ({ digest, size, mediaType }));
  const present = await to.present(
    blobs.map(({ digest, size }) => ({ digest, size })),
    signal,
  );
  const bytes = blobs.reduce((sum, { size }) => sum + size, 0);
  onProgress?.({ type: 'start', target: to.name, layers: blobs.length, bytes });
  await parallel(blobs, copy.concurrency, signal, async (blob, inner) => {
    const isPresent = present.has(blob.digest);
    const isForeign = !isPresent && isNonDistributable(blob.mediaType);
    if (isPresent || !(await copied(copy, blob, isForeign, inner))) {
      onProgress?.({ type: 'bytes', digest: blob.digest, bytes: blob.size });
    }
    const action = isPresent ? 'present' : 'copied';
    onProgress?.({ type: 'layer', action, from: blob, to: blob });
  });
  const configs = new Set(images.map(({ config }) => config.descriptor.digest));
  const [top, ...below] = documents;
  if (top === undefined) throw new RangeError('an image has a manifest');
  const isConfig = ({ descriptor: { digest } }: Document) => configs.has(digest);
  for (const { descriptor: config, bytes: content } of below.filter(isConfig)) {
    await to.write(contentOf(content), config, signal);
  }
  return { top, others: below.filter((document) => !isConfig(document)).toReversed(), layers: blobs.length };
}

/** @returns false for a foreign layer whose bytes the image comes without */
async function copied(
  { from, to, onProgress }: ImageCopy,
  blob: Descriptor,
  isForeign: boolean,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await to.write(meterOf(blob, onProgress)(from.blob(blob)).content, blob, signal);
    return true;
  } catch (error) {
    if (isForeign && error instanceof CacheError && error.wrong === 'missing') return false;
    throw error;
  }
}

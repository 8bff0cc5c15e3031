import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CacheError } from '../../errors.js';
import type { BlobId } from '../../oci/descriptor.js';
import { listBlobs, namesIn } from '../blobs/blob-list.js';
import type { Layout } from '../layout.js';
import { decodeIndex, hasList, type LayoutIndex } from './index-json.js';
import { settled } from './settled.js';

// An index.json whose entries were lost, while the blobs are still there: an empty file, as a crash leaves it, and a
// document without a list of manifests, such as `null` or `{}`. BuildKit reads both as an index without entries, and gc
// would take every blob for garbage.

/** A larger file has a list, or is no index; in bytes. */
const WITHOUT_LIST = 4096;

/**
 * Refuses to write to a layout whose index was lost: BuildKit's next entry would make it an index of one cache.
 *
 * @throws CacheError CORRUPT
 */
export async function refuseToWrite(layout: Layout): Promise<void> {
  const path = join(layout.root, 'index.json');
  const size = (await stat(path).catch(() => undefined))?.size;
  if (size === undefined || size > WITHOUT_LIST) return;
  if ((await namesIn(join(layout.root, 'blobs', 'sha256'))).length === 0) return;
  // A build that makes a new one has it empty for a moment.
  const read = (bytes: Buffer | undefined) => {
    if (bytes?.length === 0) throw lostIndex(layout.root, `${path} is empty, and there are blobs`);
    return bytes && decodeIndex(bytes, path);
  };
  const index = await settled(path, read, { timeout: layout.settings.lockTimeout });
  if (index !== undefined) await refuseLostIndex(layout, index);
}

/**
 * Refuses an index without a list of manifests, where there are manifests.
 *
 * @throws CacheError CORRUPT
 */
export async function refuseLostIndex(layout: Layout, index: LayoutIndex, signal?: AbortSignal): Promise<void> {
  if (hasList(index) || !(await hasManifests(layout, signal))) return;
  const path = join(layout.root, 'index.json');
  throw lostIndex(layout.root, `${path} has no list of manifests, and blobs/ has manifests`);
}

/** Whether there are manifests among the blobs, whose entries in index.json may have been lost. */
export async function hasManifests({ root, blobs }: Layout, signal?: AbortSignal): Promise<boolean> {
  const { untaggedManifests } = await import('../gc/untagged-manifests.js');
  const files: BlobId[] = [];
  for await (const { digest, stats } of listBlobs(root))
    if (digest !== undefined && stats.isFile()) files.push({ digest, size: stats.size });
  return (await untaggedManifests(blobs, files, signal)).length > 0;
}

function lostIndex(root: string, what: string): CacheError {
  return new CacheError('CORRUPT', `${what}: which caches they belong to was lost`, {
    hint: `"bkcache repair ${root}" finds them again; delete ${join(root, 'index.json')} to start without them`,
  });
}

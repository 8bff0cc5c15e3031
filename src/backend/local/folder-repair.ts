import type { Stats } from 'node:fs';
import { rm } from 'node:fs/promises';
import { checkContent } from '../../layout/blobs/blob-file.js';
import { statOf } from '../../layout/files/local-disk.js';
import { LeasedBlobs } from '../../layout/blobs/leased-blobs.js';
import { LostBlobs } from '../../layout/blobs/lost-blobs.js';
import { moveToQuarantine } from '../../layout/gc/quarantine.js';
import { keptIndexPath, updateIndex } from '../../layout/index/index-file.js';
import { writeVersion } from '../../layout/create-layout.js';
import type { Layout } from '../../layout/layout.js';
import { type Content, contentOf } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import { type Digest, isKnownAlgorithm, splitDigest } from '../../oci/digest.js';
import type { Document } from '../../oci/document.js';
import type { RestoreOptions, StoreRepair } from '../cache-store.js';
import { markerPath } from './folder-check.js';
import { withChanges } from './folder-entries.js';
import { salvageIndex, untaggedCaches } from './salvage.js';

/** How often a repair starts again after another process has deleted its blobs. */
const REWRITES = 20;

/** What repair does in a folder. Its layout has to be opened with `heal`, so that damaged files are replaced. */
export function folderRepair(layout: Layout): StoreRepair {
  const { root, blobs } = layout;
  const leased = new LeasedBlobs(layout);
  const again = againWhenLost();
  const write = (content: Content, expected: BlobId | undefined, where: string, signal: AbortSignal | undefined) =>
    leased.write(content, expected, { where, sharing: 'copy', ...(signal ? { signal } : {}) });
  return {
    async salvage(signal) {
      const salvage = await salvageIndex(layout, signal);
      if (salvage === undefined) return undefined;
      return {
        ...salvage,
        publish: (changes, inner) =>
          again(async () => {
            await writeDocuments(leased, changes.documents, root, inner);
            await leased.sync();
            return salvage.publish(changes.entries, leased, inner);
          }),
      };
    },
    untagged: (entries, signal) => untaggedCaches(layout, entries, signal),
    has: async (digest) => (await statOf(blobs.path(digest))) !== undefined,
    isWhole: (digest, signal) => isWhole(layout, digest, signal),
    async restore(content, blob, { where, dryRun, signal }: RestoreOptions) {
      const stats = await statOf(blobs.path(blob.digest));
      // What is no file at all, such as a link, cannot be replaced: it goes, once there is something better.
      const isOther = stats !== undefined && !stats.isFile();
      if (dryRun || isOther) await checkContent(content, blob, { where, signal });
      if (dryRun) return;
      if (isOther) moveAway(layout, blob.digest, stats);
      await write(content, blob, where, signal);
    },
    write: (content, signal) => write(content, undefined, root, signal),
    async quarantine(digest) {
      const stats = await statOf(blobs.path(digest));
      if (stats !== undefined) moveAway(layout, digest, stats);
    },
    change: ({ entries, documents }, signal) =>
      again(async () => {
        await writeDocuments(leased, documents, root, signal);
        await leased.sync();
        if (entries.length === 0) return true;
        const keepAs = keptIndexPath(layout);
        await updateIndex(layout, (index) => withChanges(index, entries), { leased, keepAs, signal });
        return true;
      }),
    async mendPlace(findings, { dryRun }) {
      const marker = markerPath(layout);
      if (!findings.some(({ severity, file }) => severity === 'corrupt' && file === marker)) return false;
      if (!dryRun) await writeVersion(layout);
      return true;
    },
    done: () => rm(keptIndexPath(layout), { force: true }),
    [Symbol.asyncDispose]: () => leased[Symbol.asyncDispose](),
  };
}

/**
 * Runs a change. It has to be repeated if another process has deleted blobs that it relies on.
 *
 * @throws LostBlobs when they are deleted each time
 */
function againWhenLost(): (change: () => Promise<boolean>) => Promise<boolean> {
  let tries = 0;
  return async (change) => {
    try {
      return await change();
    } catch (error) {
      if (!(error instanceof LostBlobs) || tries++ === REWRITES) throw error;
      return false;
    }
  };
}

/**
 * Writes the documents that are not there yet.
 *
 * @param where - for messages
 * @returns the digests of those that were written
 */
export async function writeDocuments(
  leased: LeasedBlobs,
  documents: readonly Document[],
  where: string,
  signal: AbortSignal | undefined,
): Promise<Digest[]> {
  const written: Digest[] = [];
  for (const { descriptor, bytes } of documents) {
    if (await leased.has(descriptor, signal)) continue;
    const options = { where, sharing: 'copy', ...(signal ? { signal } : {}) } as const;
    await leased.write(contentOf(bytes), descriptor, options);
    written.push(descriptor.digest);
  }
  return written;
}

/** Whether a file is what its digest says, whatever else is said of it. A file that cannot be read is not. */
async function isWhole({ blobs }: Layout, digest: Digest, signal: AbortSignal | undefined): Promise<boolean> {
  const stats = await statOf(blobs.path(digest));
  if (stats?.isFile() !== true || !isKnownAlgorithm(splitDigest(digest)[0])) return false;
  return blobs.isWhole({ digest, size: stats.size }, signal);
}

function moveAway({ root, blobs }: Layout, digest: Digest, { size }: Stats): void {
  moveToQuarantine(root, { digest, path: blobs.path(digest), size, damaged: true }, Date.now());
}

import { statOf } from '../../layout/files/local-disk.js';
import { listBlobs } from '../../layout/blobs/blob-list.js';
import { readIndexOrNone } from '../../layout/index/index-read.js';
import type { Layout } from '../../layout/layout.js';
import type { CacheStore, StoredBlob } from '../cache-store.js';
import { entriesOf } from './folder-entries.js';
import { folderRemedy } from './folder-remedy.js';

const LOST_ENTRY =
  'a build with several exports to local or registry writes the name of the last one into every folder: export to one place in a build, and let "bkcache copy" bring the cache to the others';

const checks = () => import('./folder-check.js');
const changes = () => import('./folder-changes.js');

/** A folder of caches, which is an OCI layout. The layout is closed with the store. */
export function folderStore(layout: Layout): CacheStore {
  const { root, blobs } = layout;
  return {
    name: root,
    manifest: ({ digest }) => blobs.content(digest),
    blob: ({ digest }) => blobs.content(digest),
    lostEntryHint: LOST_ENTRY,
    entries: async (signal) => entriesOf(await readIndexOrNone(layout, signal)),
    blobs: () => storedBlobs(layout),
    writtenAt: async ({ descriptor }) => (await statOf(layout.blobs.path(descriptor.digest)))?.mtimeMs,
    needs: async (entries, signal) => (await changes()).needsOf(layout, entries, signal),
    examine: async (instead, signal) => (await checks()).examineLayout(layout, instead, signal),
    remember: async (verdicts, present) => (await checks()).remember(layout, verdicts, present),
    remedy: (finding) => folderRemedy(root, finding),
    change: async (wanted, signal) => (await changes()).change(layout, wanted, signal),
    gc: async (options) => (await import('./folder-gc.js')).gcOf(layout, options),
    remove: async (names, signal) => (await changes()).remove(layout, names, signal),
    instead: { touch: 'nothing in a folder expires; import, export and resolve record when a cache was used' },
    repair: async () => (await import('./folder-repair.js')).folderRepair(layout),
    [Symbol.asyncDispose]: () => layout[Symbol.asyncDispose](),
  };
}

async function* storedBlobs({ root }: Layout): AsyncGenerator<StoredBlob, void, undefined> {
  for await (const { path, digest, stats } of listBlobs(root)) {
    const blob = { digest, size: stats.size, at: path };
    if (stats.isFile()) yield blob;
    else yield { ...blob, other: stats.isSymbolicLink() ? 'a link, which is not followed' : 'something else' };
  }
}

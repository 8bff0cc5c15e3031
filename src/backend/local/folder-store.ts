import { listBlobs } from '../../layout/blobs/blob-list.js';
import { statOf } from '../../layout/blobs/blob-file.js';
import { KnownDamaged } from '../../layout/blobs/known-damaged.js';
import { LeasedBlobs } from '../../layout/blobs/leased-blobs.js';
import { rewriting } from '../../layout/blobs/lost-blobs.js';
import { gc } from '../../layout/gc/gc.js';
import { type Marked, Marking } from '../../layout/gc/mark.js';
import { updateIndex } from '../../layout/index/index-file.js';
import type { LayoutIndex } from '../../layout/index/index-json.js';
import { findTag, withoutTag } from '../../layout/index/index-json.js';
import { readIndexOrNone } from '../../layout/index/index-read.js';
import { setFileTime } from '../../layout/index/last-used.js';
import type { Layout } from '../../layout/layout.js';
import { CacheError } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';
import type { CacheStore, Changes, GcOptions, StoredBlob, StoreEntry, Verdict } from '../cache-store.js';
import { examineLayout } from './folder-check.js';
import { entriesOf, withChanges } from './folder-entries.js';
import { folderRemedy } from './folder-remedy.js';
import { folderRepair, writeDocuments } from './folder-repair.js';

const LOST_ENTRY =
  'a build with several exports to local or registry writes the name of the last one into every folder: export to one place in a build, and let "bkcache copy" bring the cache to the others';

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
    needs: (entries, signal) => needsOf(layout, entries, signal),
    examine: (instead, signal) => examineLayout(layout, instead, signal),
    remember: (verdicts, present) => remember(layout, verdicts, present),
    remedy: (finding) => folderRemedy(root, finding),
    change: (changes, signal) => change(layout, changes, signal),
    gc: (options) => gcOf(layout, options),
    remove: (names, signal) => remove(layout, names, signal),
    repair: () => folderRepair(layout),
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

async function needsOf(
  { blobs }: Layout,
  entries: readonly StoreEntry[],
  signal: AbortSignal | undefined,
): Promise<readonly ReadonlySet<Digest>[]> {
  const marking = new Marking(blobs);
  const needs: ReadonlySet<Digest>[] = [];
  for (const { descriptor } of entries) {
    const marked: Marked = new Map();
    await marking.mark([descriptor], marked, { signal });
    needs.push(new Set(marked.keys()));
  }
  const [obstacle] = marking.obstacles;
  if (obstacle === undefined) return needs;
  throw obstacle.error;
}

/** Keeps the list of damaged blobs, which writers go by. */
async function remember(
  { root }: Layout,
  verdicts: readonly Verdict[],
  present: Pick<ReadonlySet<Digest>, 'has'>,
): Promise<void> {
  const knownDamaged = new KnownDamaged(root);
  const damaged = await knownDamaged.list();
  for (const { digest, sound } of verdicts) {
    if (!sound) await knownDamaged.add(digest);
    else if (damaged.has(digest)) await knownDamaged.remove(digest);
  }
  for (const digest of damaged) if (!present.has(digest)) await knownDamaged.remove(digest);
}

async function change(layout: Layout, { entries, documents }: Changes, signal?: AbortSignal): Promise<void> {
  if (entries.length === 0) return;
  await using leased = new LeasedBlobs(layout);
  const written = new Set<Digest>();
  await rewriting(async () => {
    for (const digest of await writeDocuments(leased, documents, layout.root, signal)) written.add(digest);
    await leased.sync();
    await updateIndex(layout, (index) => withChanges(index, entries), { leased, signal });
  });
  for (const { to, lastUsed } of entries) {
    if (to === undefined || lastUsed === undefined || !written.has(to.digest)) continue;
    await setFileTime(layout.blobs.path(to.digest), lastUsed);
  }
}

async function gcOf(layout: Layout, { former, grace, dryRun, planned, signal }: GcOptions) {
  const manifests = async ({ entries }: Changes) =>
    withChanges(await readIndexOrNone(layout, signal), entries).manifests;
  return gc(layout, {
    ...(former ? { former } : {}),
    grace,
    dryRun,
    planned: planned && { manifests: await manifests(planned), documents: planned.documents },
    signal,
  });
}

async function remove(layout: Layout, names: readonly string[], signal?: AbortSignal): Promise<void> {
  const withoutNames = (index: LayoutIndex) => {
    let left = index;
    for (const name of names) {
      const before = left;
      left = withoutTag(before, name);
      if (left.manifests.length === before.manifests.length) throw noName(layout, index, name);
    }
    return left;
  };
  await updateIndex(layout, withoutNames, { signal });
}

function noName({ root }: Layout, index: LayoutIndex, name: string): CacheError {
  const isImage = findTag(index, name) !== undefined;
  return new CacheError('NOT_FOUND', `${root} has no tag ${JSON.stringify(name)}`, {
    hint: isImage ? 'an image of that name is there, and stays' : undefined,
  });
}

import { CacheError } from '../../errors.js';
import { LeasedBlobs } from '../../layout/blobs/leased-blobs.js';
import { rewriting } from '../../layout/blobs/lost-blobs.js';
import { type Marked, Marking } from '../../layout/gc/mark.js';
import { updateIndex } from '../../layout/index/index-file.js';
import { findTag, type LayoutIndex, withoutTag } from '../../layout/index/index-json.js';
import { setFileTime } from '../../layout/index/last-used.js';
import type { Layout } from '../../layout/layout.js';
import type { Digest } from '../../oci/digest.js';
import type { Changes, StoreEntry } from '../cache-store.js';
import { withChanges } from './folder-entries.js';
import { writeDocuments } from './folder-repair.js';

/** What each of some entries needs. */
export async function needsOf(
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

/** Writes documents, and then changes entries. */
export async function change(layout: Layout, { entries, documents }: Changes, signal?: AbortSignal): Promise<void> {
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

/** Removes names from index.json. */
export async function remove(layout: Layout, names: readonly string[], signal?: AbortSignal): Promise<void> {
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

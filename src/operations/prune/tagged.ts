import type { Cache } from '../../backend/backend.js';
import { loadInlineCache } from '../../backend/inline/inline-source.js';
import { layoutReader } from '../../backend/local/layout-repository.js';
import { loadCache } from '../../backend/repository/load-cache.js';
import { readManifest } from '../../backend/repository/manifest.js';
import { CacheError } from '../../errors.js';
import type { Graph } from '../../graph/graph.js';
import { namesOf } from '../../layout/index/index-json.js';
import { lastUsed } from '../../layout/index/last-used.js';
import { type Marked, Marking } from '../../layout/gc/mark.js';
import type { Layout } from '../../layout/layout.js';
import { statOf } from '../../layout/blobs/blob-file.js';
import { CREATED_AT, type Descriptor } from '../../oci/descriptor.js';
import { isImageType } from '../../oci/media-types.js';
import { contentsOf } from '../../oci/successors.js';
import type { Needs, SavedGraph } from './budget.js';
import type { TagUse } from './policy.js';

/** An entry of an index, what it is, and when it was last used. */
export interface Tagged extends TagUse {
  readonly entry: Descriptor;
  /** Undefined for images, cache or not, and for other things: nothing can be evicted from those. */
  readonly cache: SavedGraph | undefined;
  /** All that it reaches. */
  readonly needs: Needs;
  /** When bkcache last used it, as index.json says, in milliseconds since 1970; undefined when it does not say. */
  readonly recorded: number | undefined;
  /** What says when it was last used. */
  readonly lastUsedBy: UseSource;
}

/**
 * What can say when a cache was last used; the latest counts. `recorded`: index.json, for caches in a store. `file`: the
 * time of the manifest's file, which is when it was written, or used elsewhere than in a store. `created`: when its
 * newest result or layer was made.
 */
export type UseSource = 'recorded' | 'file' | 'created';

/**
 * Reads what an index lists.
 *
 * @param sizes - of the blobs that are there
 * @throws CacheError CORRUPT when a cache among it, or what should be a manifest, cannot be read
 */
export async function readTagged(
  layout: Layout,
  entries: readonly Descriptor[],
  sizes: Needs,
  signal: AbortSignal | undefined,
): Promise<Tagged[]> {
  const references = new Marking(layout.blobs);
  const tagged: Tagged[] = [];
  for (const entry of entries) {
    const { graph, saved } = (await read(layout, entry, signal)) ?? {};
    const recorded = lastUsed(entry);
    const created = graph && newest(graph);
    const use = latest({ recorded, file: await writtenAt(layout, entry), created });
    const cache = graph && saved && { graph, saved };
    const reached: Marked = new Map();
    await references.mark([entry], reached, { signal });
    const needs = new Map(Array.from(reached.keys(), (digest) => [digest, sizes.get(digest) ?? 0]));
    tagged.push({ entry, names: namesOf(entry), cache, needs, recorded, ...use });
  }
  const [obstacle] = references.obstacles;
  if (obstacle === undefined) return tagged;
  throw new CacheError('CORRUPT', `nothing was changed: ${obstacle.error.message}`, {
    hint: '"bkcache verify" says what is wrong, and "bkcache repair" mends it',
    cause: obstacle.error,
  });
}

/**
 * What is known of an entry: a cache, or that in an image. Nothing has to be known of what is no cache: entries may be of
 * any media type, and images may be there in part.
 */
async function read(
  layout: Layout,
  entry: Descriptor,
  signal: AbortSignal | undefined,
): Promise<Pick<Cache, 'graph' | 'saved'> | undefined> {
  if (!isImageType(entry.mediaType)) return undefined;
  const repository = layoutReader(layout);
  const manifest = await readManifest(repository, entry, signal);
  if (contentsOf(manifest.content).kind === 'cache') return loadCache(repository, entry, signal);
  try {
    return await loadInlineCache(repository, manifest, signal);
  } catch (error) {
    if (!(error instanceof CacheError) || signal?.aborted === true) throw error;
    return undefined;
  }
}

/** When the newest result or layer of a cache was made; undefined when nothing says so. */
function newest({ records, descriptors }: Graph): number | undefined {
  let time = 0;
  const look = (createdAt: string | undefined) => {
    const made = Date.parse(createdAt ?? '');
    if (made > time) time = made;
  };
  for (const { results, chains } of records) {
    for (const { createdAt } of results) look(createdAt);
    for (const { createdAt } of chains) look(createdAt);
  }
  for (const { annotations } of descriptors.values()) look(annotations?.[CREATED_AT]);
  return time > 0 ? time : undefined;
}

async function writtenAt(layout: Layout, { digest }: Descriptor): Promise<number | undefined> {
  return (await statOf(layout.blobs.path(digest)))?.mtimeMs;
}

function latest(times: Readonly<Record<UseSource, number | undefined>>): Pick<Tagged, 'lastUsed' | 'lastUsedBy'> {
  let use: Pick<Tagged, 'lastUsed' | 'lastUsedBy'> = { lastUsed: 0, lastUsedBy: 'file' };
  for (const source of ['recorded', 'file', 'created'] as const) {
    const time = times[source];
    if (time !== undefined && time > use.lastUsed) use = { lastUsed: time, lastUsedBy: source };
  }
  return use;
}

import { layoutReader } from '../backend/layout-repository.js';
import { loadCache } from '../backend/load-cache.js';
import type { Cache } from '../backend/backend.js';
import { CacheError } from '../errors.js';
import { namesOf } from '../layout/index-json.js';
import { lastUsed } from '../layout/last-used.js';
import type { Layout } from '../layout/layout.js';
import { statOf } from '../layout/blob-file.js';
import { CREATED_AT, type Descriptor } from '../oci/descriptor.js';
import type { TagUse } from './policy.js';

/** An entry of an index, what it is, and when it was last used. */
export interface Tagged extends TagUse {
  readonly entry: Descriptor;
  /** Undefined for images and other things that are no build caches. */
  readonly cache: Cache | undefined;
  /** When bkcache last used it, in milliseconds since 1970; undefined when that was never written down. */
  readonly recorded: number | undefined;
  /** That, or when the newest of it was made. */
  readonly lastUsed: number;
}

/**
 * Reads what an index lists.
 *
 * @throws CacheError CORRUPT when something of it cannot be read
 */
export async function readTagged(
  layout: Layout,
  entries: readonly Descriptor[],
  signal: AbortSignal | undefined,
): Promise<Tagged[]> {
  const tagged: Tagged[] = [];
  for (const entry of entries) {
    const cache = await cacheOf(layout, entry, signal);
    const recorded = lastUsed(entry);
    const used = recorded ?? (cache && newest(cache)) ?? (await writtenAt(layout, entry));
    tagged.push({ entry, names: namesOf(entry), cache, recorded, lastUsed: used });
  }
  return tagged;
}

async function cacheOf(layout: Layout, entry: Descriptor, signal: AbortSignal | undefined): Promise<Cache | undefined> {
  try {
    return await loadCache(layoutReader(layout), entry, signal);
  } catch (error) {
    if (error instanceof CacheError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}

/** When the newest result or layer of a cache was made; undefined when nothing says so. */
function newest({ graph }: Cache): number | undefined {
  let time = 0;
  const look = (createdAt: string | undefined) => {
    const made = Date.parse(createdAt ?? '');
    if (made > time) time = made;
  };
  for (const { results, chains } of graph.records) {
    for (const { createdAt } of results) look(createdAt);
    for (const { createdAt } of chains) look(createdAt);
  }
  for (const { annotations } of graph.descriptors.values()) look(annotations?.[CREATED_AT]);
  return time > 0 ? time : undefined;
}

async function writtenAt(layout: Layout, { digest }: Descriptor): Promise<number> {
  return (await statOf(layout.blobs.path(digest)))?.mtimeMs ?? 0;
}
